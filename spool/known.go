package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgwitness/pgwitness/audit"
)

// Known is what a start needs to know about a chain when ClickHouse cannot be
// asked, as of the last acknowledgement. It is a copy: where the trail can be
// read, the trail is right.
type Known struct {
	Genesis       json.RawMessage // as the caller writes it
	State         json.RawMessage // likewise
	Configuration string          // stands for everything that decides how entries are made
	Behind        bool            // the spool was begun behind Head, which the trail may have passed by then
	Head          audit.Head      // of the trail
	Position      audit.LSN       // saved before the slot was acknowledged up to it
}

// knownFile lies beside the segments.
const knownFile = "known.json"

// knownFrame is the file: the JSON of a Known and its checksum.
type knownFrame struct {
	Known    json.RawMessage `json:"known"`
	Checksum uint32          `json:"crc32c"`
}

// Remember replaces what is known. It is on disk for sure when nil is
// returned; a crash before that leaves what was known before.
func (s *Spool) Remember(k Known) error {
	known, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("remember chain: %w", err)
	}
	text, err := json.Marshal(knownFrame{known, checksum(known)})
	if err != nil {
		return fmt.Errorf("remember chain: %w", err)
	}
	draft := filepath.Join(s.dir, knownFile+".new")
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("remember chain: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(draft, filepath.Join(s.dir, knownFile))
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("remember chain: %w", err)
	}
	return nil
}

// Forget removes what is known about the chain of stream: the next start needs
// ClickHouse.
func Forget(stateDir, stream string) error {
	err := os.Remove(filepath.Join(Folder(stateDir, stream), knownFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget chain: %w", err)
	}
	return nil
}

// Recall reads what Remember wrote last. found is false when nothing was; a
// damaged file is an error, and the caller is better off waiting for ClickHouse.
func (s *Spool) Recall() (k Known, found bool, err error) {
	file := filepath.Join(s.dir, knownFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return k, false, nil
	}
	if err != nil {
		return k, false, fmt.Errorf("recall chain: %w", err)
	}
	var frame knownFrame
	if err := json.Unmarshal(text, &frame); err != nil {
		return k, false, fmt.Errorf("recall chain from %s: %w", file, err)
	}
	if checksum(frame.Known) != frame.Checksum {
		return k, false, fmt.Errorf("recall chain from %s: wrong checksum", file)
	}
	if err := json.Unmarshal(frame.Known, &k); err != nil {
		return k, false, fmt.Errorf("recall chain from %s: %w", file, err)
	}
	return k, true, nil
}
