package ebs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of StartSnapshot.
const (
	maxVolumeSizeGiB = 64 << 10
	maxRequest       = 1 << 20 // bytes of JSON
	maxTags          = 50
	maxDescription   = 255
	maxClientToken   = 255
	minTimeout       = 10 // minutes
	maxTimeout       = 4320
)

var keyARN = regexp.MustCompile(`^arn:aws[a-z\-]*:kms:.*:[0-9]{12}:key/.+$`)

type tag struct{ Key, Value string }

type startRequest struct {
	ClientToken      string
	Description      string
	Encrypted        *bool
	KmsKeyArn        string
	ParentSnapshotId string
	Tags             []tag
	Timeout          *int32
	VolumeSize       int64
}

// check refuses what is wrong whatever snapshots there are.
func (q startRequest) check() *failure {
	switch {
	case q.VolumeSize < 1 || q.VolumeSize > maxVolumeSizeGiB:
		return invalid("INVALID_VOLUME_SIZE", "Volume size must be between 1 and %d GiB.", maxVolumeSizeGiB)
	case len(q.Description) > maxDescription:
		return invalid("INVALID_PARAMETER_VALUE", "Description must have a length of at most %d.", maxDescription)
	case len(q.ClientToken) > maxClientToken:
		return invalid("INVALID_PARAMETER_VALUE", "ClientToken must have a length of at most %d.", maxClientToken)
	case q.Timeout != nil && (*q.Timeout < minTimeout || *q.Timeout > maxTimeout):
		return invalid("INVALID_PARAMETER_VALUE", "Timeout must be between %d and %d minutes.", minTimeout, maxTimeout)
	case q.ParentSnapshotId != "" && q.Encrypted != nil:
		return invalid("INVALID_PARAMETER_VALUE", "Encrypted and ParentSnapshotId cannot be specified together.")
	case q.ParentSnapshotId != "" && q.KmsKeyArn != "":
		return invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn and ParentSnapshotId cannot be specified together.")
	case q.KmsKeyArn != "" && (q.Encrypted == nil || !*q.Encrypted):
		return invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn needs Encrypted to be true.")
	case q.KmsKeyArn != "" && !keyARN.MatchString(q.KmsKeyArn):
		return invalid("INVALID_CUSTOMER_KEY", "KmsKeyArn '%s' is not a key's ARN.", q.KmsKeyArn)
	case len(q.Tags) > maxTags:
		return invalid("INVALID_TAG", "At most %d tags.", maxTags)
	}
	seen := map[string]bool{}
	for _, t := range q.Tags {
		if t.Key == "" || len(t.Key) > 127 || len(t.Value) > 255 || strings.HasPrefix(t.Key, "aws:") || seen[t.Key] {
			return invalid("INVALID_TAG", "The tag '%s' is not valid.", t.Key)
		}
		seen[t.Key] = true
	}
	return nil
}

func (s *Store) start(r *http.Request) (*answer, *failure) {
	var q startRequest
	d := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return nil, &failure{http.StatusBadRequest, "SerializationException", err.Error(), ""}
	}
	if f := q.check(); f != nil {
		return nil, f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.tokens[q.ClientToken]; q.ClientToken != "" && before != nil {
		n := s.snapshots[before.id]
		if !reflect.DeepEqual(before.request, q) || n == nil {
			return nil, &failure{http.StatusConflict, "ConflictException", "The client token was used for another request.", ""}
		}
		return s.started(n), nil
	}
	n := &snapshot{
		Snapshot: Snapshot{OwnerID: s.options.AccountID, VolumeSizeGiB: q.VolumeSize, ParentID: q.ParentSnapshotId, Description: q.Description,
			Tags: map[string]string{}, State: Pending, Started: time.Now()},
		blocks: map[int32]block{}, written: map[int32]bool{},
	}
	for _, t := range q.Tags {
		n.Tags[t.Key] = t.Value
	}
	if f := s.encrypt(n, q); f != nil {
		return nil, f
	}
	id, err := s.options.NewID(q.VolumeSize)
	if err != nil {
		return nil, internal(err)
	}
	n.ID, n.root = id, cmp.Or(n.root, id)
	s.snapshots[id] = n
	if q.ClientToken != "" {
		s.tokens[q.ClientToken] = &started{q, id}
	}
	return s.started(n), nil
}

// encrypt decides as the table "Encryption outcomes for EBS direct APIs" of the user guide, and takes over what a parent has.
func (s *Store) encrypt(n *snapshot, q startRequest) *failure {
	byDefault, defaultKey := s.options.EncryptionByDefault()
	if q.ParentSnapshotId == "" {
		n.Encrypted = byDefault || q.Encrypted != nil && *q.Encrypted
		if q.Encrypted != nil && !*q.Encrypted && byDefault {
			return invalid("INVALID_PARAMETER_VALUE", "Encryption by default is enabled: unencrypted snapshots cannot be made.")
		}
		if n.Encrypted {
			n.KMSKeyARN = cmp.Or(q.KmsKeyArn, defaultKey, "arn:aws:kms:eu-west-1:"+s.options.AccountID+":key/aws-ebs")
		}
		return nil
	}
	parent, f := s.find(q.ParentSnapshotId)
	switch {
	case f != nil:
		return f
	case parent.State != Completed:
		return invalid("INVALID_SNAPSHOT_ID", "The parent snapshot '%s' is not completed.", parent.ID)
	case parent.VolumeSizeGiB > q.VolumeSize:
		return invalid("INVALID_VOLUME_SIZE", "The parent snapshot has %d GiB.", parent.VolumeSizeGiB)
	case !parent.Encrypted && byDefault:
		return invalid("INVALID_PARAMETER_VALUE", "Encryption by default is enabled: the parent snapshot '%s' is not encrypted.", parent.ID)
	}
	n.Encrypted, n.KMSKeyARN, n.root, n.blocks = parent.Encrypted, parent.KMSKeyARN, parent.root, maps.Clone(parent.blocks)
	return nil
}

func (s *Store) started(n *snapshot) *answer {
	tags := []tag{}
	for _, k := range slices.Sorted(maps.Keys(n.Tags)) {
		tags = append(tags, tag{k, n.Tags[k]})
	}
	body := map[string]any{"SnapshotId": n.ID, "OwnerId": n.OwnerID, "Status": n.State, "StartTime": n.Started.Unix(), "VolumeSize": n.VolumeSizeGiB,
		"BlockSize": BlockSize, "Description": n.Description, "Tags": tags, "SseType": "none"}
	if n.ParentID != "" {
		body["ParentSnapshotId"] = n.ParentID
	}
	if n.Encrypted {
		body["KmsKeyArn"], body["SseType"] = n.KMSKeyARN, "sse-kms"
	}
	return &answer{status: http.StatusCreated, body: body}
}

func (s *Store) put(r *http.Request, id string, index int32) (*answer, *failure) {
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	size, err := io.ReadFull(r.Body, *buffer)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, &failure{http.StatusBadRequest, "RequestTimeoutException", err.Error(), ""}
	}
	h := r.Header
	switch {
	case h.Get("x-amz-Data-Length") != strconv.Itoa(BlockSize) || size != BlockSize:
		return nil, invalid("INVALID_BLOCK", "Data length must be %d; the header says '%s', and %d bytes came.", BlockSize, h.Get("x-amz-Data-Length"), min(size, BlockSize+1))
	case h.Get("x-amz-Checksum-Algorithm") != "SHA256":
		return nil, invalid("INVALID_PARAMETER_VALUE", "Checksum algorithm '%s' is not valid.", h.Get("x-amz-Checksum-Algorithm"))
	}
	if p := h.Get("x-amz-Progress"); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 100 {
			return nil, invalid("INVALID_PARAMETER_VALUE", "Progress '%s' is not valid.", p)
		}
	}
	data := (*buffer)[:BlockSize]
	b := block{sum: sha256.Sum256(data)}
	checksum := base64.StdEncoding.EncodeToString(b.sum[:])
	if h.Get("x-amz-Checksum") != checksum {
		return nil, invalid("INVALID_BLOCK", "The checksum '%s' is not that of the data, '%s'.", h.Get("x-amz-Checksum"), checksum)
	}
	n, f := s.writable(id, index)
	if f != nil {
		return nil, f
	}
	if b.file = n.file; b.file != nil {
		if _, err := b.file.WriteAt(data, int64(index)*BlockSize); err != nil {
			return nil, internal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !n.completed.IsZero() {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not pending.", id)
	}
	n.blocks[index], n.written[index] = b, true
	return &answer{status: http.StatusCreated, header: map[string]string{"x-amz-Checksum": checksum, "x-amz-Checksum-Algorithm": "SHA256"}, body: struct{}{}}, nil
}

// writable gives a snapshot that the block can be written into, with a file if blocks are kept.
func (s *Store) writable(id string, index int32) (*snapshot, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, f := s.find(id)
	switch {
	case f != nil:
		return nil, f
	case n.State != Pending || !n.completed.IsZero():
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not pending.", id)
	case int64(index) >= n.VolumeSizeGiB<<30/BlockSize:
		return nil, invalid("INVALID_BLOCK", "Block index %d is beyond a volume of %d GiB.", index, n.VolumeSizeGiB)
	case n.file == nil && !s.options.Discard:
		file, err := os.CreateTemp(s.options.Dir, ".ebs-*")
		if err != nil {
			return nil, internal(err)
		}
		os.Remove(file.Name())
		n.file, s.files = file, append(s.files, file)
	}
	return n, nil
}

func (s *Store) complete(r *http.Request, id string) (*answer, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, f := s.find(id)
	if f != nil {
		return nil, f
	}
	if n.State != Pending || !n.completed.IsZero() {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not pending.", id)
	}
	h := r.Header
	if count, err := strconv.Atoi(h.Get("x-amz-ChangedBlocksCount")); err != nil || count != len(n.written) {
		return nil, invalid("INVALID_PARAMETER_VALUE", "ChangedBlocksCount is '%s'; %d blocks were written.", h.Get("x-amz-ChangedBlocksCount"), len(n.written))
	}
	if sum, method, algorithm := h.Get("x-amz-Checksum"), h.Get("x-amz-Checksum-Aggregation-Method"), h.Get("x-amz-Checksum-Algorithm"); sum+method+algorithm != "" {
		if method != "LINEAR" || algorithm != "SHA256" {
			return nil, invalid("INVALID_PARAMETER_VALUE", "A checksum needs the algorithm SHA256 and the aggregation method LINEAR.")
		}
		var all bytes.Buffer
		for _, i := range slices.Sorted(maps.Keys(n.written)) {
			b := n.blocks[i]
			all.Write(b.sum[:])
		}
		want := sha256.Sum256(all.Bytes())
		if sum != base64.StdEncoding.EncodeToString(want[:]) {
			return nil, invalid("INVALID_PARAMETER_VALUE", "The checksum '%s' is not that of the blocks written.", sum)
		}
	}
	n.completed = time.Now()
	s.settle(n)
	return &answer{status: http.StatusAccepted, body: map[string]string{"Status": n.State}}, nil
}
