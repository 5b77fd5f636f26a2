package compress

import "hash/crc32"

// The CRC-32 of gzip is arithmetic with polynomials over GF(2), modulo crc32.IEEE, bits reversed: bit 31 is x^0. Bytes appended to a message
// multiply what came before by x^8 each, so the CRCs of parts are put together without their bytes. It is what zlib's crc32_combine does.

// times is a*b modulo the polynomial.
func times(a, b uint32) uint32 {
	p := uint32(0)
	for m := uint32(1) << 31; a != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
			a &^= m
		}
		carry := b & 1
		b >>= 1
		b ^= crc32.IEEE & -carry
	}
	return p
}

// shift is x^(8n): what n bytes multiply by.
func shift(n int64) uint32 {
	result, square := uint32(1)<<31, uint32(1)<<23 // 1, x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = times(result, square)
		}
		square = times(square, square)
	}
	return result
}

// joinCRC is the CRC-32 of a followed by b, which has n bytes.
func joinCRC(a, b uint32, n int64) uint32 { return times(a, shift(n)) ^ b }

// zerosCRC is the CRC-32 of what a is of, followed by n zero bytes.
func zerosCRC(a uint32, n int64) uint32 { return ^times(^a, shift(n)) }
