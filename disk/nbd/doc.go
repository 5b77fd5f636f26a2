// Package nbd speaks the Network Block Device protocol, the one in which programs read and write each other's disks. It has a read-only server
// that shows any [image.Source] to QEMU, qemu-img, libnbd or the Linux kernel, with its holes, and a client that fills a disk which a server of QEMU
// stores in some format.
//
// A guest gets a disk that exists nowhere as a file:
//
//	l, err := net.Listen("unix", filepath.Join(dir, "disk.sock"))
//	…
//	go nbd.Serve(ctx, l, src)
//	// qemu-system-x86_64 -blockdev driver=nbd,node-name=d,read-only=on,server.type=unix,server.path=….sock
//	// qemu-img map nbd+unix:///?socket=….sock
//
// Whoever can open the socket can read the disk: keep it in a folder of mode 0700.
//
// The protocol is in doc/proto.md of the repository NetworkBlockDevice/nbd; sections named in this package are of that file. The server does the
// fixed newstyle handshake, structured replies and the metadata context base:allocation; the client needs no more than simple replies. There is no TLS.
package nbd

// Magic numbers of section "Values".
const (
	magicServer     = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicOptReply   = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Flags of the handshake, of both sides.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Options of the handshake.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Replies to options.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4
	repError       = 1 << 31
	repErrUnsup    = repError | 1
	repErrInvalid  = repError | 3
	repErrUnknown  = repError | 6
	repErrTooBig   = repError | 9
)

// What a reply of type repInfo tells.
const (
	infoExport    = 0
	infoBlockSize = 3
)

// Flags of an export.
const (
	exportHasFlags     = 1 << 0
	exportReadOnly     = 1 << 1
	exportSendFlush    = 1 << 2
	exportCanMultiConn = 1 << 8
)

// Commands and their flags.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
	cmdBlockStatus = 7

	cmdFlagReqOne = 1 << 3
)

// Chunks of structured replies.
const (
	chunkDone        = 1 << 0 // flag
	chunkNone        = 0
	chunkData        = 1
	chunkHole        = 2
	chunkBlockStatus = 5
	chunkError       = 1<<15 | 1
	chunkErrorOffset = 1<<15 | 2
)

// Errors on the wire: section "Error values".
const (
	errPerm     = 1
	errIO       = 5
	errInvalid  = 22
	errNoSpace  = 28
	errOverflow = 75
	errNotSup   = 95
	errShutdown = 108
)

const (
	// maxRequest is the longest read or write of both sides, in bytes: section "Block size constraints".
	maxRequest = 32 << 20
	// maxOption is the longest data of an option that is looked at: names are at most 4096 bytes long.
	maxOption = 64 << 10

	allocationContext = "base:allocation"
	allocationID      = 1
	stateHole         = 1 << 0
	stateZero         = 1 << 1
)
