package s3

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ingot-image/ingot/export/account"
)

// StaleAPI is what of the SDK's client AbortStale needs besides.
type StaleAPI interface {
	API
	sdk.ListMultipartUploadsAPIClient
}

// Stale is an upload that was begun and never finished. Its parts cost money and are seen by nobody.
type Stale struct {
	Key, UploadID string
	Initiated     time.Time
}

// AbortStale aborts the unfinished uploads under a prefix, o.Key, that were begun before a time, and tells which. The prefix must be one that only uploads of
// Ingot's have, such as "ingot/". An upload that is in the record, which may be nil, is left: it can be finished.
func AbortStale(ctx context.Context, client StaleAPI, r Record, o Object, before time.Time) ([]Stale, error) {
	var aborted []Stale
	var failed []error
	pages := sdk.NewListMultipartUploadsPaginator(client, &sdk.ListMultipartUploadsInput{
		Bucket: &o.Bucket, Prefix: &o.Key, ExpectedBucketOwner: optional(o.Owner),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return aborted, fmt.Errorf("list the unfinished uploads under %s: %w", o, account.Explain(err))
		}
		for _, found := range page.Uploads {
			s := Stale{Key: value(found.Key), UploadID: value(found.UploadId), Initiated: value(found.Initiated)}
			of := Object{Bucket: o.Bucket, Key: s.Key, Owner: o.Owner}
			known, _, err := Uploader{Record: r}.recorded(of)
			if err != nil {
				return aborted, err
			}
			if known.UploadID == s.UploadID || !s.Initiated.Before(before) {
				continue
			}
			_, err = client.AbortMultipartUpload(ctx, &sdk.AbortMultipartUploadInput{
				Bucket: &of.Bucket, Key: &of.Key, UploadId: &s.UploadID, ExpectedBucketOwner: optional(of.Owner),
			})
			if err != nil && !lost(err) {
				failed = append(failed, fmt.Errorf("abort the upload of %s: %w", of, account.Explain(err)))
				continue
			}
			aborted = append(aborted, s)
		}
	}
	return aborted, errors.Join(failed...)
}
