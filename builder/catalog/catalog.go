// Package catalog records which images exist: every build that was ever started, with its version, status, inputs,
// outputs, tests and stages, in one SQLite database.
//
// Any number of processes use a catalog at the same time. Reserve assigns version and build number in one transaction,
// so that two builds started at once never get the same, and hands out a Build that only its own process may change:
//
//	c, err := catalog.Open(ctx, filepath.Join(home, "ingot.db"))
//	...
//	b, err := c.Reserve(ctx, "web-server", pattern) // 1.0.x → 1.0.3/1
//	defer b.Close(ctx)                              // not finished by then: CANCELLED
//	err = b.SetStatus(ctx, catalog.Building)
//	...
//	err = b.Finish(ctx, record)                     // AVAILABLE
//
// # Builds whose process died
//
// A Build holds a lock on one byte of the file ingot.db.builds for as long as its process lives. The kernel gives the
// lock up when the process ends, however it ends. Whoever next lists, gets or reserves finds an unfinished build whose
// byte is free and records it as FAILED with the reason ReasonInterrupted. There is no process id to be mistaken, no
// heartbeat and no stale lock file: the file has no content and stays.
//
// The statuses are Image Builder's ImageStatus. The package knows nothing of recipes or of how images are built.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// Catalog is an open catalog. It is safe for concurrent use.
type Catalog struct {
	path   string
	db     *sql.DB
	leases *leases
}

// Open opens the catalog at path, normally $INGOT_HOME/ingot.db, and makes it and its folder if they are absent. An older
// catalog is brought up to date. The error says what to do if the file is damaged, no catalog, or of a newer Ingot.
func Open(ctx context.Context, path string) (*Catalog, error) {
	c, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	return c, nil
}

func open(ctx context.Context, path string) (*Catalog, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	leases, err := openLeases(path + ".builds")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		leases.close()
		return nil, err
	}
	c := &Catalog{path: path, db: db, leases: leases}
	// One process at a time: the switch to write-ahead logging fails at once, whatever the busy timeout, if two do it.
	err = leases.exclusively(ctx, func() error { return c.migrate(ctx) })
	if err != nil {
		c.Close()
		return nil, describe(err)
	}
	return c, nil
}

// dataSource is the driver's name for the database: transactions take the write lock when they begin, so that what they
// read cannot change before they write; a process waits 30 s for another's transaction; a commit is on disk when it
// returns.
func dataSource(path string) string {
	u := url.URL{Scheme: "file", Path: path}
	q := url.Values{}
	q.Set("_busy_timeout", "30000")
	q.Set("_foreign_keys", "1")
	q.Set("_journal_mode", "WAL")
	q.Set("_synchronous", "FULL")
	q.Set("_txlock", "immediate")
	q.Set("_defensive", "1")
	q.Set("_dqs", "0")
	q.Set("_error_rc", "1")
	u.RawQuery = q.Encode()
	return u.String()
}

// Close closes the catalog. Builds that are still held must have been closed before.
func (c *Catalog) Close() error {
	err := c.db.Close()
	return errors.Join(err, c.leases.close())
}

// write runs f in a transaction that has the write lock from the start.
func (c *Catalog) write(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return describe(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return describe(err)
	}
	return describe(tx.Commit())
}
