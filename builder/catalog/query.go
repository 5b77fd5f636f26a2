package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// ErrNotFound is wrapped by Get's error if there is no such image.
var ErrNotFound = errors.New("no such image")

// newestVersion orders by version, the newest first.
const newestVersion = ` ORDER BY major DESC, minor DESC, patch DESC, build DESC`

// match gives the condition for the builds of an image that a pattern selects.
func match(name string, pattern version.Pattern) (where string, arguments []any) {
	where, arguments = "name = ?", []any{name}
	for i, n := range pattern.Fixed() {
		where += " AND " + [3]string{"major", "minor", "patch"}[i] + " = ?"
		arguments = append(arguments, n)
	}
	if n := pattern.Build(); n != 0 {
		where, arguments = where+" AND build = ?", append(arguments, n)
	}
	return where, arguments
}

// List gives the builds of the images called name, of all images if name is "", newest first. They have no Manifest;
// Get gives it.
func (c *Catalog) List(ctx context.Context, name string) ([]Image, error) {
	images, err := c.list(ctx, version.ResourceName(name))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return images, nil
}

func (c *Catalog) list(ctx context.Context, name string) ([]Image, error) {
	if err := c.reap(ctx); err != nil {
		return nil, err
	}
	where, arguments := "TRUE", []any(nil)
	if name != "" {
		where, arguments = "name = ?", []any{name}
	}
	images, err := c.read(ctx, where+" ORDER BY id DESC", arguments)
	for i := range images {
		images[i].Manifest = nil
	}
	return images, err
}

// Get gives the build that reference names: "NAME/VERSION/BUILD", or the newest that "NAME/VERSION" or a pattern such as
// "NAME/1.x.x" selects. With statuses, only builds with one of them count: a parent image must be AVAILABLE. The error
// wraps ErrNotFound if there is none.
func (c *Catalog) Get(ctx context.Context, reference string, statuses ...Status) (*Image, error) {
	ref, err := version.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("get image: %w", err)
	}
	if err := c.reap(ctx); err != nil {
		return nil, fmt.Errorf("get image %s: %w", ref, err)
	}
	where, arguments := match(ref.Name, ref.Pattern)
	if len(statuses) > 0 {
		where += " AND status IN (?" + strings.Repeat(", ?", len(statuses)-1) + ")"
		for _, s := range statuses {
			arguments = append(arguments, s)
		}
	}
	images, err := c.read(ctx, where+newestVersion+" LIMIT 1", arguments)
	if err == nil && len(images) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get image %s: %w", ref, err)
	}
	return &images[0], nil
}

// read gives the images that a condition selects, in its order, with their parts.
func (c *Catalog) read(ctx context.Context, condition string, arguments []any) ([]Image, error) {
	// One transaction, so that an image and its parts belong together. It is read-only: it takes no write lock.
	tx, err := c.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, describe(err)
	}
	defer tx.Rollback()
	ids, images, err := readImages(ctx, tx, condition, arguments)
	for i := 0; i < len(images) && err == nil; i++ {
		err = errors.Join(readRecord(ctx, tx, ids[i], &images[i].Record),
			readParts(ctx, tx, `SELECT region, account_id, ami, name, description, state FROM amis`, ids[i], &images[i].AMIs,
				func(a *AMI) []any { return []any{&a.Region, &a.AccountID, &a.Image, &a.Name, &a.Description, &a.State} }))
	}
	if err != nil {
		return nil, describe(err)
	}
	return images, nil
}

func readImages(ctx context.Context, tx *sql.Tx, condition string, arguments []any) (ids []int64, images []Image, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, name, major, minor, patch, build, status, reason, failure, date_created,
		date_finished, accelerator, qemu_version, plan_digest, manifest FROM images WHERE `+condition, arguments...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var i Image
		var id, created int64
		var finished sql.NullInt64
		var failure, manifest sql.NullString
		err := rows.Scan(&id, &i.Name, &i.Version.Major, &i.Version.Minor, &i.Version.Patch, &i.Version.Build, &i.Status, &i.Reason,
			&failure, &created, &finished, &i.Accelerator, &i.QEMUVersion, &i.PlanDigest, &manifest)
		if err != nil {
			return nil, nil, err
		}
		i.Failure, i.Manifest = rawJSON(failure), rawJSON(manifest)
		i.DateCreated = time.UnixMilli(created).UTC()
		if finished.Valid {
			i.DateFinished = time.UnixMilli(finished.Int64).UTC()
		}
		ids, images = append(ids, id), append(images, i)
	}
	return ids, images, rows.Err()
}

func rawJSON(text sql.NullString) json.RawMessage {
	if !text.Valid {
		return nil
	}
	return json.RawMessage(text.String)
}

func readRecord(ctx context.Context, tx *sql.Tx, id int64, r *Record) error {
	return errors.Join(
		readParts(ctx, tx, `SELECT name, digest FROM inputs`, id, &r.Inputs,
			func(in *Input) []any { return []any{&in.Name, &in.Digest} }),
		readParts(ctx, tx, `SELECT format, path, sha256, size_bytes FROM outputs`, id, &r.Outputs,
			func(o *Output) []any { return []any{&o.Format, &o.Path, &o.SHA256, &o.SizeBytes} }),
		readParts(ctx, tx, `SELECT name, firmware, disk, status, duration_ms FROM tests`, id, &r.Tests,
			func(t *Test) []any { return []any{&t.Name, &t.Firmware, &t.Disk, &t.Status, &t.DurationMS} }),
		readParts(ctx, tx, `SELECT name, duration_ms, cached FROM stages`, id, &r.Stages,
			func(s *Stage) []any { return []any{&s.Name, &s.DurationMS, &s.Cached} }),
	)
}

// readParts appends the rows of one of an image's tables to *to; columns gives where a row's values go.
func readParts[T any](ctx context.Context, tx *sql.Tx, query string, id int64, to *[]T, columns func(*T) []any) error {
	rows, err := tx.QueryContext(ctx, query+` WHERE image = ? ORDER BY position`, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var part T
		if err := rows.Scan(columns(&part)...); err != nil {
			return err
		}
		*to = append(*to, part)
	}
	return rows.Err()
}
