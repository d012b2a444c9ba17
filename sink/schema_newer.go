package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/pgwitness/pgwitness/store"
)

// newerOnly is a part of a migration that servers read which know what it says;
// to others it is a comment.
var newerOnly = regexp.MustCompile(`/\* newer: (.*?) \*/`)

// newerSteps is the migrations as such a server gets them.
type newerSteps struct{ fs.FS }

// Open implements fs.FS.
func (s newerSteps) Open(name string) (fs.File, error) {
	file, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		return file, err
	}
	text, err := fs.ReadFile(s.FS, name)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &newerStep{file, bytes.NewReader(newerOnly.ReplaceAll(text, []byte("$1")))}, nil
}

// newerStep is one of them.
type newerStep struct {
	fs.File
	text *bytes.Reader
}

// Read implements fs.File.
func (s *newerStep) Read(p []byte) (int, error) { return s.text.Read(p) }

// stepsFor is the migrations for the server of admin.
func stepsFor(ctx context.Context, admin store.Server) (fs.FS, error) {
	steps, err := migrations()
	if err != nil {
		return nil, err
	}
	conn, err := admin.In("").Open(ctx)
	if err != nil {
		return nil, err
	}
	var known uint64
	err = conn.QueryRow(ctx, "SELECT count() FROM system.merge_tree_settings WHERE name = 'materialize_projections_on_merge'").Scan(&known)
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, fmt.Errorf("read the settings of ClickHouse %s: %w", admin, admin.Explain(err))
	}
	if known > 0 {
		return newerSteps{steps}, nil
	}
	return steps, nil
}
