package main

import (
	"bytes"
	"encoding/binary"
)

// forwarderDLL returns a DLL for amd64 without code, whose one export is somebody else's function ("PE Format" of the Windows documentation,
// "Export Address Table", forwarder RVA). The target is MODULE.FUNCTION.
func forwarderDLL(name, export, target string) []byte {
	const (
		headers = 0x200  // size of the headers in the file, and of the section
		rva     = 0x1000 // where the section is in memory
	)
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v) // to memory
		}
	}
	pad := func(size int) { b.Write(make([]byte, size-b.Len())) }

	b.WriteString("MZ")
	pad(0x3c)
	put(uint32(0x40)) // e_lfanew
	b.WriteString("PE\x00\x00")
	const machine, dll = 0x8664, 0x2022 // executable, large addresses, DLL
	put(uint16(machine), uint16(1), uint32(0), uint32(0), uint32(0), uint16(240), uint16(dll))
	// Optional header: PE32+, sizes, no entry point, then image base, alignments, versions, sizes, subsystem, stack and heap.
	put(uint16(0x20b), uint16(0), uint32(0), uint32(headers), uint32(0), uint32(0), uint32(rva))
	put(uint64(0x180000000), uint32(rva), uint32(headers), [6]uint16{6, 0, 0, 0, 6, 0}, uint32(0), uint32(2*rva), uint32(headers), uint32(0))
	put(uint16(3), uint16(0x100), [4]uint64{0x100000, 0x1000, 0x100000, 0x1000}, uint32(0), uint32(16))
	put(uint32(rva), uint32(headers), [15]uint64{}) // data directories: only exports
	b.WriteString(".edata\x00\x00")
	const readable = 0x40000040
	put(uint32(headers), uint32(rva), uint32(headers), uint32(headers), [3]uint32{}, uint32(readable))
	pad(headers)
	// Export directory, its three tables of one entry, and the texts. An address in the section itself means a forwarder.
	texts := uint32(rva + 40 + 12)
	exported := texts + uint32(len(name)) + 1
	forwarded := exported + uint32(len(export)) + 1
	put([3]uint32{}, texts, [3]uint32{1, 1, 1}, uint32(rva+40), uint32(rva+44), uint32(rva+48))
	put(forwarded, exported, uint32(0))
	b.WriteString(name + "\x00" + export + "\x00" + target + "\x00")
	pad(2 * headers)
	return b.Bytes()
}
