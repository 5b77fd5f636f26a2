package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/s3"
	"github.com/ingot-image/ingot/export/vmimport"
)

// defaultPrefix is that of objects on their way through a bucket. What is below it is Ingot's, and the bucket's life cycle rule is about it.
const defaultPrefix = "ingot/"

// staleAge is how old an upload that nobody finished is when it is given up.
const staleAge = 7 * 24 * time.Hour

// temporary is an object, or an upload of one, that is in a bucket while it is imported. It is recorded before the upload begins, so that the next run, whatever
// it does, takes away what one that was killed has left.
type temporary struct{ Region, Bucket, Key, Owner string }

const temporaryKey = "import-object"

func (t temporary) object() s3.Object { return s3.Object{Bucket: t.Bucket, Key: t.Key, Owner: t.Owner} }

// throughBucket puts the disk into the bucket while f makes something of it there, and records what that is. f is told the disk's size in bytes. The object is
// deleted when f is done with it, whether it failed or not; if this process is interrupted or loses its connection it stays, so that the same call
// goes on with it, and the bucket's life cycle rule takes it away if there is none.
func (r *release) throughBucket(ctx context.Context, f func(o s3.Object, content string, size int64) (*imported, error)) (*imported, error) {
	source, size, err := r.vmdk(ctx)
	if err != nil {
		return nil, err
	}
	bucket, prefix := r.config.Import.Bucket, r.config.Import.Prefix
	if bucket == "" {
		bucket = vmimport.DefaultBucket(r.AccountID, r.region)
	}
	if prefix == "" {
		prefix = defaultPrefix
	}
	t := temporary{Region: r.region, Bucket: bucket, Owner: r.AccountID,
		Key: fmt.Sprintf("%s%s-%s-%s.vmdk", prefix, r.image.Name, strings.ReplaceAll(r.image.Version, "/", "-"), source.SHA256[:12])}
	var earlier temporary
	if found, err := r.Book.Get(temporaryKey, &earlier); err != nil {
		return nil, err
	} else if found && earlier != t {
		r.clear(ctx)
	}
	if err := r.Book.Put(temporaryKey, t); err != nil {
		return nil, err
	}
	if err := r.upload(ctx, s3.NewClient(r.home), t.object(), source); err != nil {
		return nil, err
	}
	content := source.SHA256
	if r.lost != "" {
		content += " after " + r.lost // or the task would be found that made what is gone
	}
	done, err := f(t.object(), content, size)
	var ended *vmimport.TaskError
	if errors.As(err, &ended) {
		r.clear(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := r.keep(done); err != nil {
		return nil, err
	}
	if prefix == defaultPrefix { // another one may have uploads of others
		r.abortStale(ctx, t)
	}
	return done, nil
}

// clear takes the object away that is recorded, and what there is of an upload of it. It does so even if somebody has lost patience meanwhile: what is over must
// not stay. A failure harms no image and is told; the next run tries again.
func (r *release) clear(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), clearLimit)
	defer stop()
	var t temporary
	found, err := r.Book.Get(temporaryKey, &t)
	if err == nil && found {
		client := s3.NewClient(account.In(r.Config, t.Region))
		err = errors.Join(s3.Uploader{Client: client, Record: r.Book}.Abort(ctx, t.object()), s3.Delete(ctx, client, t.object()))
		if err == nil {
			err = r.Book.Delete(temporaryKey)
		}
	}
	if err != nil {
		r.warn(fmt.Errorf("a temporary object stays and costs until the next run, or the bucket's life cycle rule, takes it away: %w", err))
	}
}

// clearLimit is how long clearing away may take, for the command may have been told to end.
const clearLimit = time.Minute

// abortStale gives up old uploads of this image, which earlier versions of it may have left. Who may not ask for them leaves them to the bucket's life cycle rule.
func (r *release) abortStale(ctx context.Context, t temporary) {
	below := t.object()
	below.Key = defaultPrefix + r.image.Name + "-"
	_, err := s3.AbortStale(ctx, s3.NewClient(r.home), r.Book, below, time.Now().Add(-staleAge))
	if err != nil && account.Code(err) != "AccessDenied" && ctx.Err() == nil {
		r.warn(err)
	}
}

func (r *release) upload(ctx context.Context, client s3.API, object s3.Object, source *ImageFile) error {
	f, err := os.Open(source.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := source.opened(f); err != nil {
		return err
	}
	u := s3.Uploader{Client: client, Record: r.Book, Progress: func(done, total int64) {
		r.event(Event{Region: r.region, Doing: "upload", Done: done, Total: total, Bytes: true})
	}}
	_, err = u.Upload(ctx, object, f, source.Size, "sha256:"+source.SHA256)
	if changed := source.opened(f); changed != nil {
		r.clear(ctx) // nobody will go on with these parts: the file is of another image now
		return changed
	}
	return err
}
