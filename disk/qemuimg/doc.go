// Package qemuimg writes disk images in the formats that are left to QEMU's own code: qcow2, qcow2 with clusters compressed by zstd, and VHDX.
//
//	out, err := qemuimg.NewWriter(ctx, f, image.Qcow2, src.Size(), image.Default)
//	…
//	defer out.Close()
//	err = image.Copy(ctx, src, image.CopyOptions{}, out)
//
// qemu-img makes the empty image; then qemu-storage-daemon, which is QEMU's block layer without a machine, opens it and takes the pieces over NBD, so
// that the image is one writer among others while a disk is read once. qemu-nbd can the same, but takes a listening socket only with its own
// process id in the environment (systemd's socket activation), which nobody knows before it runs; the daemon takes a file descriptor. Neither the
// image nor the socket has a path that anybody else could open: the image may be a nameless file.
//
// The same disk gives the same bytes. QEMU allocates clusters in the order in which writes arrive, which is that of the disk. Compressed clusters go
// one at a time: QEMU compresses several at once in threads and puts each where the file ends when it is done. The random identifiers of a VHDX are
// replaced by others that are made of the disk's content. The version of QEMU is part of a VHDX (its creator), and that of its zstd
// shows in what it compresses: other versions may give other bytes.
package qemuimg

import "github.com/ingot-image/ingot/disk/tool"

var (
	qemuImg = tool.Tool{Name: "qemu-img", Package: "qemu-utils"}
	daemon  = tool.Tool{Name: "qemu-storage-daemon", Package: "qemu-system-common"}
)

// Tools returns the host programs that this package runs.
func Tools() []tool.Tool { return []tool.Tool{qemuImg, daemon} }
