package ebs

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
)

// wish is what must be the same for an upload to go on with the snapshot that an earlier call began.
type wish struct {
	VolumeSizeGiB int64
	Parent        string `json:",omitempty"`
	Encrypted     bool   `json:",omitempty"`
	KeyARN        string `json:",omitempty"`
}

// state is what is recorded of an upload, beside the digests of the blocks written, which are in pages of their own.
type state struct {
	wish
	Token       string // the client token of StartSnapshot, recorded before it is called
	ParentID    string `json:",omitempty"` // that StartSnapshot was given
	FullBecause string `json:",omitempty"`
	SnapshotID  string `json:",omitempty"` // "": it is not known whether StartSnapshot was called
	IsEncrypted bool   `json:",omitempty"`
	Sealed      bool   `json:",omitempty"` // CompleteSnapshot may have been called
}

func (u *upload) stateKey() string { return "ebs/" + u.Name }

// pageKey names a page of digests; those of another snapshot are never taken for this one's.
func (u *upload) pageKey(page int32) string {
	return fmt.Sprintf("ebs/%s/%s/%d", u.Name, u.state.SnapshotID, page)
}

// pageBlocks is how many blocks' digests are recorded together: at most 170 KiB of JSON.
const pageBlocks = 4096

func (u *upload) pages() int32 {
	return int32((u.state.VolumeSizeGiB<<30/BlockSize + pageBlocks - 1) / pageBlocks)
}

func (u *upload) keepState() error { return u.Record.Put(u.stateKey(), u.state) }

func (u *upload) wish() wish {
	w := wish{VolumeSizeGiB: u.VolumeSizeGiB, Encrypted: u.Encrypted || u.keyARN != "", KeyARN: u.keyARN}
	if u.Parent != nil {
		w.Parent = u.Parent.SnapshotID
	}
	return w
}

// begin goes on with the snapshot that is recorded, or starts one.
func (u *upload) begin(ctx context.Context) error {
	found, err := u.Record.Get(u.stateKey(), &u.state)
	if err != nil {
		return err
	}
	if !found || u.state.wish != u.wish() {
		return u.beginAnew(ctx)
	}
	if u.state.SnapshotID == "" { // by the same token there will be one snapshot, however often it is started
		if err := u.start(ctx); account.Code(err) != "ConflictException" {
			return err
		}
		return u.beginAnew(ctx) // the tags or the description are others now
	}
	s, err := u.look(ctx, u.state.SnapshotID)
	if err != nil {
		return err
	}
	if s == nil || s.State != ec2types.SnapshotStatePending && s.State != ec2types.SnapshotStateCompleted {
		return u.beginAnew(ctx) // it was given up, or deleted
	}
	u.state.Sealed = u.state.Sealed || s.State == ec2types.SnapshotStateCompleted
	u.use()
	for page := range u.pages() {
		var digests Digests
		if _, err := u.Record.Get(u.pageKey(page), &digests); err != nil {
			return err
		}
		maps.Copy(u.written, digests)
	}
	return nil
}

// beginAnew forgets what is recorded and starts a snapshot, of the parent if it can be one.
func (u *upload) beginAnew(ctx context.Context) error {
	if u.state.SnapshotID != "" {
		for page := range u.pages() {
			if err := u.Record.Delete(u.pageKey(page)); err != nil {
				return err
			}
		}
	}
	u.state = state{wish: u.wish(), Token: rand.Text()}
	if u.Parent != nil {
		because, err := u.unfit(ctx)
		if err != nil {
			return err
		}
		if u.state.FullBecause = because; because == "" {
			u.state.ParentID = u.Parent.SnapshotID
		}
	}
	return u.start(ctx)
}

// start calls StartSnapshot.
func (u *upload) start(ctx context.Context) error {
	if err := u.keepState(); err != nil {
		return err
	}
	in := &sdk.StartSnapshotInput{VolumeSize: &u.state.VolumeSizeGiB, ClientToken: &u.state.Token, Timeout: aws.Int32(timeoutMinutes)}
	if u.Description != "" {
		in.Description = &u.Description
	}
	if u.state.ParentID != "" {
		in.ParentSnapshotId = &u.state.ParentID // whose encryption it has; both together are refused
	} else if u.state.Encrypted {
		in.Encrypted = aws.Bool(true)
		if u.state.KeyARN != "" {
			in.KmsKeyArn = &u.state.KeyARN
		}
	}
	for _, k := range slices.Sorted(maps.Keys(u.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(u.Tags[k])})
	}
	out, err := u.client.StartSnapshot(ctx, in)
	switch code := account.Code(err); {
	case err != nil && u.state.ParentID != "" && (code == "ValidationException" || code == "ResourceNotFoundException" || code == "AccessDeniedException"):
		u.state.Token, u.state.ParentID = rand.Text(), ""
		u.state.FullBecause = fmt.Sprintf("snapshot %s cannot be the parent: %v", u.state.Parent, account.Explain(err))
		return u.start(ctx)
	case err != nil:
		return fmt.Errorf("start it: %w", account.Explain(err))
	}
	u.state.SnapshotID, u.state.IsEncrypted = aws.ToString(out.SnapshotId), aws.ToString(out.KmsKeyArn) != ""
	u.use()
	return u.keepState()
}

// use makes the snapshot in the state the one that is written.
func (u *upload) use() {
	u.written, u.parent = Digests{}, nil
	if u.state.ParentID != "" {
		u.parent = u.Parent.Digests
	}
}
