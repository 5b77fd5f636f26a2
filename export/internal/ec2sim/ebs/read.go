package ebs

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// tokenLife is how long block tokens are valid.
const tokenLife = 7 * 24 * time.Hour

// token is a block's token: only who has listed the blocks knows it.
func (n *snapshot) token(index int32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", n.ID, index, n.Started.UnixNano()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// readable gives a snapshot whose blocks can be listed and read. The store is locked.
func (s *Store) readable(id string) (*snapshot, *failure) {
	n, f := s.find(id)
	if f == nil && n.State != Completed {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is %s.", id, n.State)
	}
	return n, f
}

func (s *Store) get(r *http.Request, id string, index int32) (*answer, *failure) {
	s.mu.Lock()
	n, f := s.readable(id)
	if f != nil {
		s.mu.Unlock()
		return nil, f
	}
	b, ok := n.blocks[index]
	token := n.token(index)
	s.mu.Unlock()
	switch {
	case r.URL.Query().Get("blockToken") != token:
		return nil, invalid("INVALID_BLOCK_TOKEN", "The block token is not valid.")
	case !ok || s.options.Discard && b.source == nil:
		return nil, invalid("INVALID_BLOCK", "The snapshot '%s' has no block %d.", id, index)
	}
	buffer := s.buffers.Get().(*[]byte)
	if err := b.readAt((*buffer)[:BlockSize], int64(index)*BlockSize); err != nil {
		s.buffers.Put(buffer)
		return nil, internal(err)
	}
	return &answer{status: http.StatusOK, body: buffer, header: map[string]string{"x-amz-Data-Length": strconv.Itoa(BlockSize),
		"x-amz-Checksum": base64.StdEncoding.EncodeToString(b.sum[:]), "x-amz-Checksum-Algorithm": "SHA256"}}, nil
}

// page cuts the part out of sorted block indexes that a request asks for, and gives the token of the next one.
func (s *Store) page(r *http.Request, id string, indexes []int32) ([]int32, *string, *failure) {
	q := r.URL.Query()
	most := s.options.PageSize
	if v := q.Get("maxResults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 100 || n > 10000 {
			return nil, nil, invalid("INVALID_PARAMETER_VALUE", "MaxResults must be between 100 and 10000.")
		}
		most = min(most, n)
	}
	from := 0
	if v := q.Get("startingBlockIndex"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, nil, invalid("INVALID_PARAMETER_VALUE", "StartingBlockIndex '%s' is not valid.", v)
		}
		from = n
	}
	if v := q.Get("pageToken"); v != "" {
		text, err := base64.StdEncoding.DecodeString(v)
		if _, scanned := fmt.Sscanf(string(text), id+" %d", &from); err != nil || scanned != nil {
			return nil, nil, invalid("INVALID_PAGE_TOKEN", "The page token is not valid.")
		}
	}
	at, _ := slices.BinarySearch(indexes, int32(min(from, 1<<31-1)))
	indexes = indexes[at:]
	if len(indexes) <= most {
		return indexes, nil, nil
	}
	next := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s %d", id, indexes[most]))
	return indexes[:most], &next, nil
}

func (s *Store) listed(n *snapshot, field string, blocks any, next *string) *answer {
	return &answer{status: http.StatusOK, body: map[string]any{field: blocks, "VolumeSize": n.VolumeSizeGiB, "BlockSize": BlockSize,
		"ExpiryTime": time.Now().Add(tokenLife).Unix(), "NextToken": next}}
}

func (s *Store) list(r *http.Request, id string) (*answer, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, f := s.readable(id)
	if f != nil {
		return nil, f
	}
	indexes, next, f := s.page(r, id, slices.Sorted(maps.Keys(n.blocks)))
	if f != nil {
		return nil, f
	}
	type listed struct {
		BlockIndex int32
		BlockToken string
	}
	blocks := make([]listed, len(indexes))
	for i, index := range indexes {
		blocks[i] = listed{index, n.token(index)}
	}
	return s.listed(n, "Blocks", blocks, next), nil
}

func (s *Store) listChanged(r *http.Request, id string) (*answer, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	second, f := s.readable(id)
	if f != nil {
		return nil, f
	}
	first := &snapshot{}
	if before := r.URL.Query().Get("firstSnapshotId"); before != "" {
		if first, f = s.readable(before); f != nil {
			return nil, f
		}
		if first.root != second.root {
			return nil, invalid("UNRELATED_SNAPSHOTS", "The snapshots '%s' and '%s' are not of one volume.", before, id)
		}
	}
	var differ []int32
	for index, b := range second.blocks {
		if old, ok := first.blocks[index]; !ok || old.sum != b.sum {
			differ = append(differ, index)
		}
	}
	for index := range first.blocks {
		if _, ok := second.blocks[index]; !ok {
			differ = append(differ, index)
		}
	}
	slices.Sort(differ)
	differ, next, f := s.page(r, id, differ)
	if f != nil {
		return nil, f
	}
	type changed struct {
		BlockIndex       int32
		FirstBlockToken  string `json:",omitempty"`
		SecondBlockToken string `json:",omitempty"`
	}
	blocks := make([]changed, len(differ))
	for i, index := range differ {
		blocks[i].BlockIndex = index
		if _, ok := first.blocks[index]; ok {
			blocks[i].FirstBlockToken = first.token(index)
		}
		if _, ok := second.blocks[index]; ok {
			blocks[i].SecondBlockToken = second.token(index)
		}
	}
	return s.listed(second, "ChangedBlocks", blocks, next), nil
}
