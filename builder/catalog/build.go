package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// Reasons that the catalog itself records.
const (
	// ReasonInterrupted is that of a FAILED build whose process died without a word.
	ReasonInterrupted = "interrupted: the process that ran the build ended before the build did"
	// ReasonCancelled is that of a build that was closed unfinished.
	ReasonCancelled = "cancelled before it was finished"
)

// ErrFinished is wrapped by the errors of changes to a build that is over.
var ErrFinished = errors.New("the build is over")

// Build is a build that this process runs. Nobody else changes it. It is safe for concurrent use.
type Build struct {
	// Name and Version, with its build number, are as Reserve assigned them.
	Name    string
	Version version.Version

	catalog *Catalog
	id      int64
	lease   *lease

	mu       sync.Mutex
	finished bool
	closed   bool
}

// Reserve assigns the next version and build number of an image called name by pattern.Next and records it as PENDING, in
// one transaction. Versions once assigned are never assigned again, whatever became of the build. The name is taken as
// version.ResourceName gives it. Close must be called on the build.
func (c *Catalog) Reserve(ctx context.Context, name string, pattern version.Pattern) (*Build, error) {
	name = version.ResourceName(name)
	fail := func(err error) (*Build, error) {
		return nil, fmt.Errorf("reserve a build of %s/%s: %w", name, pattern, err)
	}
	if err := version.CheckName(name); err != nil {
		return fail(err)
	}
	if err := c.reap(ctx); err != nil {
		return fail(err)
	}
	b := &Build{Name: name, catalog: c}
	err := c.write(ctx, func(tx *sql.Tx) error {
		existing, err := latest(ctx, tx, name, pattern)
		if err != nil {
			return err
		}
		if b.Version, err = pattern.Next(existing); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO images (name, major, minor, patch, build, status, date_created)
			VALUES (?, ?, ?, ?, ?, ?, ?)`,
			name, b.Version.Major, b.Version.Minor, b.Version.Patch, b.Version.Build, Pending, time.Now().UnixMilli())
		if err != nil {
			return err
		}
		if b.id, err = result.LastInsertId(); err != nil {
			return err
		}
		// Held before the commit makes the build visible: nobody ever sees an unfinished build of a living process
		// whose lock is free.
		b.lease, err = c.leases.acquire(b.id)
		return err
	})
	if err != nil {
		if b.lease != nil {
			b.lease.release()
		}
		return fail(err)
	}
	return b, nil
}

// latest gives the newest version that matches, which is all that Next looks at; empty if there is none.
func latest(ctx context.Context, tx *sql.Tx, name string, pattern version.Pattern) ([]version.Version, error) {
	where, arguments := match(name, pattern)
	row := tx.QueryRowContext(ctx, `SELECT major, minor, patch, build FROM images WHERE `+where+newestVersion+` LIMIT 1`, arguments...)
	var v version.Version
	switch err := row.Scan(&v.Major, &v.Minor, &v.Patch, &v.Build); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []version.Version{v}, nil
}

// SetStatus records how far the build is. Only statuses that are not Finished can be set.
func (b *Build) SetStatus(ctx context.Context, status Status) error {
	if status.Finished() {
		return fmt.Errorf("set the status of %s/%s: %s is set by Finish, Fail or Close", b.Name, b.Version, status)
	}
	err := b.change(ctx, false, func(tx *sql.Tx) (sql.Result, error) {
		return tx.ExecContext(ctx, `UPDATE images SET status = ? WHERE id = ? AND date_finished IS NULL`, status, b.id)
	})
	if err != nil {
		return fmt.Errorf("set the status of %s/%s: %w", b.Name, b.Version, err)
	}
	return nil
}

// Finish records the build as AVAILABLE with its facts, all or nothing.
func (b *Build) Finish(ctx context.Context, record Record) error {
	return b.finish(ctx, Available, "", nil, record)
}

// Fail records the build as FAILED: the reason in one line, the failure's details as any JSON value (nil for none), and
// as many facts as there are.
func (b *Build) Fail(ctx context.Context, reason string, failure any, record Record) error {
	return b.finish(ctx, Failed, reason, failure, record)
}

// Cancel records the build as CANCELLED with a reason in one line.
func (b *Build) Cancel(ctx context.Context, reason string, record Record) error {
	return b.finish(ctx, Cancelled, reason, nil, record)
}

// Close gives the build up. One that is neither finished nor failed is recorded as CANCELLED. Close works after ctx has
// ended too, and may be called again.
func (b *Build) Close(ctx context.Context) error {
	b.mu.Lock()
	finished, closed := b.finished, b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	if !finished {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 35*time.Second)
		defer cancel()
		if err = b.Cancel(ctx, ReasonCancelled, Record{}); errors.Is(err, ErrFinished) {
			err = nil
		}
	}
	return errors.Join(err, b.lease.release())
}

func (b *Build) finish(ctx context.Context, status Status, reason string, failure any, record Record) error {
	fail := func(err error) error {
		return fmt.Errorf("record %s/%s as %s: %w", b.Name, b.Version, status, err)
	}
	details, err := jsonText(failure)
	if err != nil {
		return fail(err)
	}
	manifest, err := jsonText(record.Manifest)
	if err != nil {
		return fail(err)
	}
	err = b.change(ctx, true, func(tx *sql.Tx) (sql.Result, error) {
		result, err := tx.ExecContext(ctx, `UPDATE images SET status = ?, reason = ?, failure = ?, date_finished = ?,
			accelerator = ?, qemu_version = ?, plan_digest = ?, manifest = ? WHERE id = ? AND date_finished IS NULL`,
			status, reason, details, time.Now().UnixMilli(),
			record.Accelerator, record.QEMUVersion, record.PlanDigest, manifest, b.id)
		if err != nil {
			return nil, err
		}
		return result, insertRecord(ctx, tx, b.id, record)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// change runs an update of the build's row, which must still be unfinished.
func (b *Build) change(ctx context.Context, last bool, update func(tx *sql.Tx) (sql.Result, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return ErrFinished
	}
	err := b.catalog.write(ctx, func(tx *sql.Tx) error {
		result, err := update(tx)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(ErrFinished, err)
		}
		return nil
	})
	if err == nil && last {
		b.finished = true
	}
	return err
}

func insertRecord(ctx context.Context, tx *sql.Tx, id int64, record Record) error {
	for i, in := range record.Inputs {
		if _, err := tx.ExecContext(ctx, `INSERT INTO inputs VALUES (?, ?, ?, ?)`, id, i, in.Name, in.Digest); err != nil {
			return err
		}
	}
	for i, o := range record.Outputs {
		if _, err := tx.ExecContext(ctx, `INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?)`, id, i, o.Format, o.Path, o.SHA256, o.SizeBytes); err != nil {
			return err
		}
	}
	for i, t := range record.Tests {
		if _, err := tx.ExecContext(ctx, `INSERT INTO tests VALUES (?, ?, ?, ?, ?, ?, ?)`, id, i, t.Name, t.Firmware, t.Disk, t.Status, t.DurationMS); err != nil {
			return err
		}
	}
	for i, s := range record.Stages {
		if _, err := tx.ExecContext(ctx, `INSERT INTO stages VALUES (?, ?, ?, ?, ?)`, id, i, s.Name, s.DurationMS, s.Cached); err != nil {
			return err
		}
	}
	return nil
}

// jsonText gives a JSON value for a text column, NULL for none.
func jsonText(value any) (sql.NullString, error) {
	if raw, ok := value.(json.RawMessage); value == nil || ok && len(raw) == 0 {
		return sql.NullString{}, nil
	}
	data, err := json.Marshal(value)
	return sql.NullString{String: string(data), Valid: err == nil}, err
}

// reap records the builds whose process is gone as FAILED.
func (c *Catalog) reap(ctx context.Context) error {
	ids, err := c.unfinished(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		held, err := c.leases.held(id)
		if err != nil {
			return err
		}
		if held {
			continue
		}
		// A build that was finished and given up since it was listed is left alone by the condition.
		err = c.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE images SET status = ?, reason = ?, date_finished = ? WHERE id = ? AND date_finished IS NULL`,
				Failed, ReasonInterrupted, time.Now().UnixMilli(), id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Catalog) unfinished(ctx context.Context) ([]int64, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT id FROM images WHERE date_finished IS NULL`)
	if err != nil {
		return nil, describe(err)
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, describe(err)
		}
		ids = append(ids, id)
	}
	return ids, describe(rows.Err())
}
