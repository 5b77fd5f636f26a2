// Package compress writes raw disks as gzip and zstd files, on all CPUs, and reads what came compressed.
//
// [GzipWriter] and [ZstdWriter] are writers for [image.Copy]:
//
//	raw, err := image.OpenFile("disk.raw")
//	…
//	out, err := compress.NewZstdWriter(f, raw.Size(), image.Default)
//	…
//	err = image.Copy(ctx, raw, image.CopyOptions{}, out)
//
// [OpenZstd] reads such a file at random, as a source of its own, without expanding it anywhere. [Expand] makes a sparse raw file of any gzip,
// zstd, xz or bzip2 file, and bounds what hostile ones take.
package compress
