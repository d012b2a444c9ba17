package trail

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// Reconciliation is the outcome of comparing the trail with a live table.
type Reconciliation struct {
	Comparison
	// Complete says that the trail should know every row: without that, a row
	// that is missing in it may be older than the trail.
	Complete bool
}

// Reconcile compares the fold of a table with the table as the transaction tx
// of Snapshot sees it: the entries that r sees must be those of that moment.
// rows is about how many there are, filter the condition that a publication
// puts on them ("": none).
func (t *Trail) Reconcile(ctx context.Context, tx querier, r Review, table Table, rows uint64, filter string) (Reconciliation, error) {
	var out Reconciliation
	p, err := t.share(ctx, r, table, rows)
	if err != nil {
		return out, fmt.Errorf("fold %s: %w", table, err)
	}
	live, err := readLive(ctx, tx, table.Schema, table.Name, filter)
	if err != nil {
		return out, err
	}
	s, err := split(live, table, p)
	if err != nil {
		return out, fmt.Errorf("read %s: %w", table, err)
	}
	defer s.close()
	err = t.foldParts(ctx, r, table, p, func(part int, f *Fold) error {
		c, err := f.Compare(s.table(part))
		out.add(c)
		out.Complete = f.Complete()
		return err
	})
	return out, err
}

// scattered is a live table whose rows were written to one file for each part,
// in one reading, so that the audited server is asked once. The files have no
// name, and are gone with the process.
type scattered struct {
	live  LiveTable // as it is, when there is one part
	files []*os.File
}

// split reads a live table.
func split(live LiveTable, table Table, p parts) (*scattered, error) {
	s := &scattered{live: live}
	if p.all() == 1 {
		return s, nil
	}
	key, err := live.indexes(table.Key)
	if err != nil {
		return nil, err
	}
	writers := make([]*bufio.Writer, p.all())
	for i := range writers {
		f, err := os.CreateTemp("", "pgwitness-reconcile-*")
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.files = append(s.files, f)
		if err := os.Remove(f.Name()); err != nil {
			return nil, errors.Join(err, s.close())
		}
		writers[i] = bufio.NewWriterSize(f, 1<<14)
	}
	for values, err := range live.Rows {
		if err == nil {
			err = writeRow(writers[p.of(liveKey(key, values))], values)
		}
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	for _, w := range writers {
		if err := w.Flush(); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// indexes finds columns by name.
func (t LiveTable) indexes(names []string) ([]int, error) {
	var at []int
	for _, name := range names {
		i := slices.IndexFunc(t.Columns, func(c LiveColumn) bool { return c.Name == name })
		if i < 0 {
			err := fmt.Errorf("the table has no column %s, which the fold took as its key", name)
			return nil, audit.WithHint(err, "name the key of the table in its configuration (tables: key:)")
		}
		at = append(at, i)
	}
	return at, nil
}

// liveKey is the resource_id of a live row.
func liveKey(key []int, values [][]byte) string {
	texts := make([]Value, len(key))
	for i, at := range key {
		texts[i] = liveValue(values[at])
	}
	return KeyText(texts...)
}

// writeRow writes each value with its length; NULL has the length -1.
func writeRow(w *bufio.Writer, values [][]byte) error {
	var length [binary.MaxVarintLen64]byte
	for _, v := range values {
		n := int64(len(v))
		if v == nil {
			n = -1
		}
		if _, err := w.Write(length[:binary.PutVarint(length[:], n)]); err != nil {
			return err
		}
		if _, err := w.Write(v); err != nil {
			return err
		}
	}
	return nil
}

// table is the live rows of one part.
func (s *scattered) table(part int) LiveTable {
	if s.files == nil {
		return s.live
	}
	return LiveTable{s.live.Columns, s.rows(s.files[part])}
}

func (s *scattered) rows(f *os.File) iter.Seq2[[][]byte, error] {
	return func(yield func([][]byte, error) bool) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			yield(nil, err)
			return
		}
		r := bufio.NewReaderSize(f, 1<<16)
		values := make([][]byte, len(s.live.Columns))
		for {
			switch err := readRow(r, values); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(nil, err)
				return
			case !yield(values, nil):
				return
			}
		}
	}
}

// readRow is the reverse of writeRow; io.EOF says that there is no other row.
func readRow(r *bufio.Reader, values [][]byte) error {
	for i := range values {
		n, err := binary.ReadVarint(r)
		if err != nil {
			if i > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if values[i] = nil; n < 0 {
			continue
		}
		values[i] = make([]byte, n)
		if _, err := io.ReadFull(r, values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *scattered) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
