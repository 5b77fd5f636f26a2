package inspect

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxXFSLog is the largest log that mkfs.xfs makes, in bytes: XFS_MAX_LOG_BYTES.
const maxXFSLog = 2<<30 - 1<<10

// xfsNeedsRecovery tells whether the log of an XFS file system waits to be replayed: its last record is then not the one that unmounting writes. Linux
// fs/xfs/libxfs/xfs_log_format.h, and xlog_check_unmount_rec in fs/xfs/xfs_log_recover.c.
func xfsNeedsRecovery(r io.ReaderAt, size int64) (bool, error) {
	be := binary.BigEndian
	sb := make([]byte, 208)
	if err := readAt(r, sb, 0); err != nil {
		return false, err
	}
	block, agBlocks, agLog := int64(be.Uint32(sb[4:])), int64(be.Uint32(sb[84:])), sb[124]
	start, blocks := be.Uint64(sb[48:]), int64(be.Uint32(sb[96:]))
	if start == 0 { // the log is on another device
		return false, nil
	}
	if block < 512 || block > 64<<10 || agLog > 32 || blocks*block > maxXFSLog {
		return false, fmt.Errorf("damaged xfs superblock: log of %d blocks of %d bytes", blocks, block)
	}
	at := (int64(start>>agLog)&0xffffffff*agBlocks + int64(start&(1<<agLog-1))) * block
	if at < 0 || at > size-blocks*block {
		return false, fmt.Errorf("damaged xfs superblock: its log at %d reaches beyond the file system of %d bytes", at, size)
	}
	// Each record begins at a basic block with a header: magic, cycle, version, length, its place as cycle and block, … and the number of operations. The
	// last record is the one of the highest place.
	const (
		basic     = 512
		magic     = 0xfeedbabe
		unmounted = 0x20 // XLOG_UNMOUNT_TRANS, of an operation's flags
	)
	var last uint64
	clean := true // a log without records, as after xfs_repair -L
	buffer := make([]byte, 1<<20)
	for off := int64(0); off < blocks*block; off += int64(len(buffer)) {
		b := buffer[:min(int64(len(buffer)), blocks*block-off)]
		if err := readAt(r, b, at+off); err != nil {
			return false, err
		}
		for i := 0; i+basic <= len(b); i += basic {
			if be.Uint32(b[i:]) != magic {
				continue
			}
			place := be.Uint64(b[i+16:])
			if place < last || place&0xffffffff != uint64(off+int64(i))/basic {
				continue
			}
			last = place
			op := make([]byte, 12) // the first operation: transaction, length, client, flags
			headers := int64(1)
			if n := int64(be.Uint32(b[i+320:])); be.Uint32(b[i+8:])&2 != 0 && n > 32<<10 && n <= 256<<10 { // version 2: one for each 32 KiB
				headers = (n + 32<<10 - 1) / (32 << 10)
			}
			behind := (off + int64(i) + headers*basic) % (blocks * block)
			if err := readAt(r, op, at+behind); err != nil {
				return false, err
			}
			clean = be.Uint32(b[i+40:]) == 1 && op[9]&unmounted != 0
		}
	}
	return !clean, nil
}
