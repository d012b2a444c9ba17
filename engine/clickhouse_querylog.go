package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// The engine keeps its system database in memory and its query log on disk, and refuses to make a
// log where an old one lies: after a restart nothing more would be logged, and reads of the trail
// must be. So the old parts are put aside before a start and attached to the new log after it.
// A crash in between leaves them where the next start looks: on the shelf or among the detached.

// part is a folder of the query log, such as 202611_1_7_2 or, while the engine attaches it,
// attaching_202611_1_7_2.
type part struct {
	path         string
	month, level string
	first, last  int // the inserts that it holds
}

var partName = regexp.MustCompile(`^(?:attaching_)?(\d+)_(\d+)_(\d+)_(\d+)$`)

// shelveQueryLog moves the parts of the last run's query log to the shelf.
func (c *ClickHouse) shelveQueryLog() error {
	if err := os.MkdirAll(c.shelf(), 0o700); err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	parts, err := partsOf(c.queryLog())
	if err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	waiting, err := partsOf(filepath.Join(c.queryLog(), "detached"))
	if err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	for _, p := range append(whole(parts), waiting...) {
		if err := os.Rename(p.path, c.placeOnShelf(p)); err != nil {
			return fmt.Errorf("keep query log: %w", err)
		}
	}
	if err := os.RemoveAll(c.queryLog()); err != nil {
		return fmt.Errorf("keep query log: %w", err)
	}
	return nil
}

// placeOnShelf is a free path for a part. Parts of two runs may have the same name; its month must
// stay, and its inserts are numbered anew when it is attached.
func (c *ClickHouse) placeOnShelf(p part) string {
	for number := 1; ; number++ {
		path := filepath.Join(c.shelf(), fmt.Sprintf("%s_%d_%d_%s", p.month, number, number, p.level))
		if !exists(path) {
			return path
		}
	}
}

// openQueryLog makes the log of this run, so that it can be read before the first entry, and
// attaches the shelved parts to it.
func (c *ClickHouse) openQueryLog(ctx context.Context) error {
	if _, err := c.asAdmin(ctx, "SYSTEM FLUSH LOGS query_log"); err != nil {
		return fmt.Errorf("open query log: %w", err)
	}
	parts, err := partsOf(c.shelf())
	if err != nil {
		return fmt.Errorf("open query log: %w", err)
	}
	for _, p := range parts {
		if err := c.attach(ctx, p); err != nil {
			return fmt.Errorf("open query log: %w", err)
		}
	}
	return nil
}

func (c *ClickHouse) attach(ctx context.Context, p part) error {
	name := filepath.Base(p.path)
	if err := os.Rename(p.path, filepath.Join(c.queryLog(), "detached", name)); err != nil {
		return err
	}
	_, err := c.asAdmin(ctx, "ALTER TABLE system.query_log ATTACH PART '"+name+"'")
	if errors.Is(err, errRefused) {
		return c.discard(name)
	}
	return err
}

// discard keeps a part that the engine refuses to attach in a folder of its own, for whoever wants to
// look into it: a disk that was full or a machine that lost power leaves parts without contents, and
// they must not keep the trail from being served. What they held of the log is lost.
func (c *ClickHouse) discard(name string) error {
	aside := filepath.Join(c.shelf(), "refused")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(c.queryLog(), "detached", "*"+name))
	if err != nil {
		return err
	}
	for _, path := range left {
		to := filepath.Join(aside, filepath.Base(path))
		if err := errors.Join(os.RemoveAll(to), os.Rename(path, to)); err != nil {
			return err
		}
	}
	return nil
}

// queryLog is the folder where the engine keeps the log's parts.
func (c *ClickHouse) queryLog() string { return c.path("data/data/system/query_log") }

// shelf is the folder where the parts wait for the log of the next run.
func (c *ClickHouse) shelf() string { return c.path("query_log") }

// partsOf lists the parts in a folder. No folder, no parts.
func partsOf(dir string) (parts []part, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		field := partName.FindStringSubmatch(entry.Name())
		if field == nil {
			continue // not a part, or one that was never finished
		}
		p := part{path: filepath.Join(dir, entry.Name()), month: field[1], level: field[4]}
		// The expression has let digits pass only; a number too big is no part of ours.
		first, errFirst := strconv.Atoi(field[2])
		last, errLast := strconv.Atoi(field[3])
		if errFirst == nil && errLast == nil {
			p.first, p.last = first, last
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// whole leaves out the parts that were merged into another one and not yet removed.
func whole(parts []part) (kept []part) {
	for _, p := range parts {
		merged := false
		for _, q := range parts {
			merged = merged || q.covers(p)
		}
		if !merged {
			kept = append(kept, p)
		}
	}
	return kept
}

// covers reports whether p was merged into q.
func (q part) covers(p part) bool {
	return q.path != p.path && q.month == p.month && q.first <= p.first && p.last <= q.last
}
