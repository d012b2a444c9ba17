package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgwitness/pgwitness/audit"
)

// journal is a file of keys and openings that ClickHouse does not have yet:
//
//	frame   = length uint32, CRC-32C uint32 (both little-endian), payload
//	payload = records: "k" ns(subject) ns(key) | "o" ns(token) ns(class) ns(value) ns(subject)
//
// Each frame is forced to disk before the entries that need it are sealed. An
// incomplete frame can only be the last, nobody relies on it, and load cuts it
// off.
type journal struct {
	path     string
	file     *os.File // nil until something is appended
	keys     []made
	openings []Opening
	known    map[string]audit.SubjectKey // of keys
}

// maxFrame bounds what load believes a length to be.
const maxFrame = 1 << 30

func newJournal(stateDir, stream string) *journal {
	return &journal{path: filepath.Join(stateDir, "vault", stream+".journal"), known: make(map[string]audit.SubjectKey)}
}

func (j *journal) empty() bool { return j.size() == 0 }

func (j *journal) size() int { return len(j.keys) + len(j.openings) }

// append forces keys and openings to disk.
func (j *journal) append(keys []made, openings []Opening) error {
	if len(keys)+len(openings) == 0 {
		return nil
	}
	frame := make([]byte, 8)
	for _, m := range keys {
		frame = append(frame, 'k')
		frame = audit.AppendNetstring(frame, m.subject)
		frame = audit.AppendNetstring(frame, m.key[:])
	}
	for i := range openings {
		o := &openings[i]
		frame = append(frame, 'o')
		frame = audit.AppendNetstring(frame, o.Token[:])
		frame = audit.AppendNetstring(frame, o.Class)
		frame = audit.AppendNetstring(frame, o.Value)
		frame = audit.AppendNetstring(frame, o.Subject)
	}
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-8))
	binary.LittleEndian.PutUint32(frame[4:], checksum(frame[8:]))
	if err := j.write(frame); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.take(keys, openings)
	return nil
}

// write appends a frame, all of it or, as far as anybody will read, none.
func (j *journal) write(frame []byte) error {
	if j.file == nil {
		if err := j.create(); err != nil {
			return err
		}
	}
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	_, err = j.file.Write(frame)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		err = errors.Join(err, j.file.Truncate(info.Size()))
	}
	return err
}

func (j *journal) create() error {
	dir := filepath.Dir(j.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return errors.Join(err, f.Close())
	}
	j.file = f
	return nil
}

func (j *journal) take(keys []made, openings []Opening) {
	j.keys, j.openings = append(j.keys, keys...), append(j.openings, openings...)
	for _, m := range keys {
		j.known[m.subject] = m.key
	}
}

// load reads the file of an earlier process. Damage before the last frame is an
// audit.ErrNeedsHuman: entries in the spool may have been sealed with keys that
// cannot be read.
func (j *journal) load() error {
	text, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	offset := 0
	for offset+8 <= len(text) {
		length := int(binary.LittleEndian.Uint32(text[offset:]))
		end := offset + 8 + length
		if length > maxFrame || end > len(text) {
			break
		}
		payload := text[offset+8 : end]
		if checksum(payload) != binary.LittleEndian.Uint32(text[offset+4:]) {
			if end == len(text) {
				break
			}
			return j.damaged(offset)
		}
		if !j.records(payload) {
			return j.damaged(offset)
		}
		offset = end
	}
	if offset < len(text) {
		if err := os.Truncate(j.path, int64(offset)); err != nil {
			return fmt.Errorf("cut incomplete frame off the journal: %w", err)
		}
	}
	return nil
}

func (j *journal) damaged(offset int) error {
	return audit.WithHint(fmt.Errorf("journal %s is damaged at byte %d: %w", j.path, offset, audit.ErrNeedsHuman),
		"restore the file from a backup; without it the tokens of spooled entries cannot be opened")
}

// records takes the records of a frame in; false when they cannot be read.
func (j *journal) records(p []byte) bool {
	for len(p) > 0 {
		kind, fields := p[0], 2
		if kind == 'o' {
			fields = 4
		}
		var field [4][]byte
		p = p[1:]
		for i := range fields {
			var ok bool
			if field[i], p, ok = cutNetstring(p); !ok {
				return false
			}
		}
		switch {
		case kind == 'k' && len(field[1]) == len(audit.SubjectKey{}):
			j.take([]made{{string(field[0]), audit.SubjectKey(field[1])}}, nil)
		case kind == 'o' && len(field[0]) == len(audit.Hash{}):
			j.take(nil, []Opening{{audit.Hash(field[0]), string(field[1]), string(field[2]), string(field[3])}})
		default:
			return false
		}
	}
	return true
}

// cutNetstring splits ns(x) rest.
func cutNetstring(p []byte) (x, rest []byte, ok bool) {
	n, i := 0, 0
	for i < len(p) && i < 10 && p[i] >= '0' && p[i] <= '9' {
		n = 10*n + int(p[i]-'0')
		i++
	}
	if i == 0 || i >= len(p) || p[i] != ':' || len(p) < i+1+n+1 || p[i+1+n] != ',' {
		return nil, nil, false
	}
	return p[i+1 : i+1+n], p[i+2+n:], true
}

// remove deletes the file: what was in it is in ClickHouse, or not needed.
func (j *journal) remove() error {
	if err := j.close(); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	err := os.Remove(j.path)
	if err == nil {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal: %w", err)
	}
	j.keys, j.openings = nil, nil
	clear(j.known)
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// syncDir makes sure that a file made or deleted in a folder stays so.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
