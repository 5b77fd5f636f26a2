package ebs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Digest is a block's SHA-256.
type Digest = [sha256.Size]byte

// Digests are the digests of the blocks that a snapshot has, by block index: 32 bytes for each. A block that is not there was never written.
//
// As JSON it is an object that has, for each run of blocks, the digests one after the other under the index of the first.
type Digests map[int32]Digest

var zeroDigest = sha256.Sum256(make([]byte, BlockSize))

// indexes are those of the blocks, in order.
func (d Digests) indexes() []int32 { return slices.Sorted(maps.Keys(d)) }

// linear is the digest of the digests in the order of the blocks, as CompleteSnapshot wants it: aggregation method LINEAR.
func (d Digests) linear() Digest {
	h := sha256.New()
	for _, i := range d.indexes() {
		sum := d[i]
		h.Write(sum[:])
	}
	return Digest(h.Sum(nil))
}

// MarshalJSON writes runs.
func (d Digests) MarshalJSON() ([]byte, error) {
	runs := map[int32][]byte{}
	first, last := int32(0), int32(-2)
	for _, i := range d.indexes() {
		if i != last+1 {
			first = i
		}
		sum := d[i]
		runs[first], last = append(runs[first], sum[:]...), i
	}
	return json.Marshal(runs)
}

// UnmarshalJSON reads what MarshalJSON wrote. Digests of blocks beyond the largest volume, or a part of a digest, are an error.
func (d *Digests) UnmarshalJSON(data []byte) error {
	var runs map[int32][]byte
	if err := json.Unmarshal(data, &runs); err != nil {
		return err
	}
	all := Digests{}
	for first, sums := range runs {
		count := int64(len(sums) / sha256.Size)
		if len(sums)%sha256.Size != 0 || first < 0 || int64(first)+count > MaxVolumeSizeGiB<<30/BlockSize {
			return fmt.Errorf("digests of blocks: %d bytes from block %d", len(sums), first)
		}
		for i := range int32(count) {
			if _, twice := all[first+i]; twice {
				return fmt.Errorf("digests of blocks: block %d is there twice", first+i)
			}
			all[first+i] = Digest(sums[:sha256.Size])
			sums = sums[sha256.Size:]
		}
	}
	*d = all
	return nil
}

// zeros is a block of zeros, not to be written into.
var zeros = bytes.Repeat([]byte{0}, BlockSize)
