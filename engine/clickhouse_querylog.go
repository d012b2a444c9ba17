package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The engine keeps its system database in memory and its query log on disk, and refuses to make a
// log where an old one lies: after a restart nothing more would be logged, and reads of the trail
// must be. So the old parts are put aside before a start and attached to the new log after it.
// A crash between the two leaves them on the shelf, for the next start.

// shelveQueryLog moves the parts of the last run's query log to the shelf.
func (c *ClickHouse) shelveQueryLog() error {
	parts, err := partFolders(c.queryLog())
	if err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	if err := os.MkdirAll(c.shelf(), 0o700); err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	for _, part := range parts {
		if err := os.Rename(filepath.Join(c.queryLog(), part), c.freePlace(part)); err != nil {
			return fmt.Errorf("keep query log: %w", err)
		}
	}
	if err := os.RemoveAll(c.queryLog()); err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	return nil
}

// freePlace is a path on the shelf for a part. Two runs may name their parts alike; what comes
// before the first underscore is the partition, which must stay, and the two numbers after it are
// given anew when the part is attached.
func (c *ClickHouse) freePlace(part string) string {
	fields := strings.SplitN(part, "_", 4) // month, first block, last block, level
	for block := 1; len(fields) == 4; block++ {
		path := filepath.Join(c.shelf(), fmt.Sprintf("%s_%d_%d_%s", fields[0], block, block, fields[3]))
		if !exists(path) {
			return path
		}
	}
	return filepath.Join(c.shelf(), part)
}

// restoreQueryLog makes the log of this run and attaches the shelved parts to it.
func (c *ClickHouse) restoreQueryLog(ctx context.Context) error {
	parts, err := partFolders(c.shelf())
	if err != nil {
		return fmt.Errorf("restore query log: %w", err)
	}
	if len(parts) == 0 {
		return nil
	}
	if _, err := c.asAdmin(ctx, "SYSTEM FLUSH LOGS query_log"); err != nil {
		return fmt.Errorf("restore query log: %w", err)
	}
	for _, part := range parts {
		if err := c.attachPart(ctx, part); err != nil {
			return fmt.Errorf("restore query log: %w", err)
		}
	}
	return nil
}

func (c *ClickHouse) attachPart(ctx context.Context, part string) error {
	detached := filepath.Join(c.queryLog(), "detached", part)
	if err := os.Rename(filepath.Join(c.shelf(), part), detached); err != nil {
		return err
	}
	_, err := c.asAdmin(ctx, "ALTER TABLE system.query_log ATTACH PART '"+part+"'")
	return err
}

// queryLog is the folder where the engine keeps the log's parts.
func (c *ClickHouse) queryLog() string { return c.path("data/data/system/query_log") }

func (c *ClickHouse) shelf() string { return c.path("query_log") }

// partFolders lists the parts in a folder: the folders named by a month. No folder, no parts.
func partFolders(dir string) (parts []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.IsDir() && strings.Count(entry.Name(), "_") == 3 && entry.Name()[0] != 't' {
			parts = append(parts, entry.Name())
		}
	}
	return parts, nil
}
