package catalog

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// SetAMIs records the AMIs that there are of a build now, instead of those it was told before. The error wraps ErrNotFound if there is no such build.
func (c *Catalog) SetAMIs(ctx context.Context, name string, v version.Version, amis []AMI) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		var id int64
		row := tx.QueryRowContext(ctx, `SELECT id FROM images WHERE name = ? AND major = ? AND minor = ? AND patch = ? AND build = ?`,
			version.ResourceName(name), v.Major, v.Minor, v.Patch, v.Build)
		if err := row.Scan(&id); err == sql.ErrNoRows {
			return ErrNotFound
		} else if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM amis WHERE image = ?`, id); err != nil {
			return err
		}
		for i, a := range amis {
			if _, err := tx.ExecContext(ctx, `INSERT INTO amis VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				id, i, a.Region, a.AccountID, a.Image, a.Name, a.Description, a.State); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record the AMIs of %s/%s: %w", name, v, err)
	}
	return nil
}
