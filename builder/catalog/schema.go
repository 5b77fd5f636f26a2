package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks a SQLite database as a catalog ("INGO"; PRAGMA application_id).
const applicationID = 0x494e474f

// migrations lead from one version of the schema (PRAGMA user_version) to the next: the first makes version 1 of an
// empty database. A migration that was ever released is never changed.
//
// What is searched has columns; the whole of the facts is in manifest. Times are milliseconds since 1970, UTC.
func migrations() []string {
	return []string{`
CREATE TABLE images (
  id            INTEGER PRIMARY KEY AUTOINCREMENT, -- also the byte of ingot.db.builds; never reused
  name          TEXT NOT NULL,
  major         INTEGER NOT NULL,
  minor         INTEGER NOT NULL,
  patch         INTEGER NOT NULL,
  build         INTEGER NOT NULL,
  status        TEXT NOT NULL,
  reason        TEXT NOT NULL DEFAULT '',
  failure       TEXT,                              -- JSON
  date_created  INTEGER NOT NULL,
  date_finished INTEGER,
  accelerator   TEXT NOT NULL DEFAULT '',
  qemu_version  TEXT NOT NULL DEFAULT '',
  plan_digest   TEXT NOT NULL DEFAULT '',
  manifest      TEXT,                              -- JSON
  UNIQUE (name, major, minor, patch, build)
) STRICT;
CREATE INDEX images_unfinished ON images (id) WHERE date_finished IS NULL;

CREATE TABLE inputs (
  image    INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  name     TEXT NOT NULL,
  digest   TEXT NOT NULL,
  PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX inputs_digest ON inputs (digest);

CREATE TABLE outputs (
  image      INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position   INTEGER NOT NULL,
  format     TEXT NOT NULL,
  path       TEXT NOT NULL,
  sha256     TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX outputs_sha256 ON outputs (sha256);

CREATE TABLE tests (
  image       INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  name        TEXT NOT NULL,
  firmware    TEXT NOT NULL,
  disk        TEXT NOT NULL,
  status      TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE stages (
  image       INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  name        TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  cached      INTEGER NOT NULL,
  PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
`, `
CREATE TABLE amis (
  image       INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  region      TEXT NOT NULL,
  account_id  TEXT NOT NULL,
  ami         TEXT NOT NULL,
  name        TEXT NOT NULL,
  description TEXT NOT NULL,
  state       TEXT NOT NULL,
  PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX amis_ami ON amis (ami);
`}
}

// The mistakes a catalog's file can have. Messages of Open and of every query wrap them.
var (
	// ErrDamaged means that the file is no SQLite database or a broken one.
	ErrDamaged = errors.New("the file is damaged or not a catalog; move it away and run again (image files are not affected)")
	// ErrForeign means that the database is another program's.
	ErrForeign = errors.New("the file is another program's database")
	// ErrNewer means that a newer Ingot made or changed the catalog.
	ErrNewer = errors.New("the catalog was made by a newer version of Ingot; update this one")
)

// migrate makes the tables of an empty database and brings an older one up to date.
func (c *Catalog) migrate(ctx context.Context) error {
	return c.write(ctx, func(tx *sql.Tx) error {
		var id, version, tables int
		row := tx.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
			(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`)
		if err := row.Scan(&id, &version, &tables); err != nil {
			return err
		}
		steps := migrations()
		switch {
		case id != applicationID && (id != 0 || version != 0 || tables != 0):
			return ErrForeign
		case version > len(steps):
			return ErrNewer
		case version == len(steps):
			return nil
		}
		for _, step := range steps[version:] {
			if _, err := tx.ExecContext(ctx, step); err != nil {
				return fmt.Errorf("migrate from schema %d: %w", version, err)
			}
		}
		// PRAGMA takes no parameters; both values are constants of this program.
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(steps)))
		return err
	})
}

// describe turns SQLite's error codes into what the user can do about them.
func describe(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full: %w", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("the file or its folder cannot be written; check their permissions: %w", err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("another process holds the catalog for too long: %w", err)
	}
	return err
}
