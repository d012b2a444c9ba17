// Package vault keeps what stands behind the tokens of personal values: the
// random key of every data subject, and the clear value of every token. It
// fills tokens into the blanks of entries before these are sealed.
//
// The order is: a key is durable first, then the token that is made with it is
// sealed, then the entry is stored. Durable means stored in ClickHouse; or,
// while ClickHouse is away, forced to disk in a journal that is brought there
// before any entry is. So a crash anywhere leaves either a key that no entry
// uses, which a redelivery finds and uses, or none at all.
//
// A subject has one key. Only whoever has the tenure of a stream makes keys, a
// start waits for the inserts of the process before it, and while ClickHouse
// cannot be asked a key is made only for a subject that certainly has none.
//
// Keys and clear values are never logged, never written to audit_logs, and
// never kept on the local disk once ClickHouse has them. The package never
// seals an entry, and never deletes a key.
package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// ErrUndecided is wrapped by FillLocally when a subject may have a key in
// ClickHouse that is not in memory.
var ErrUndecided = errors.New("whether a data subject has a key is not known without ClickHouse")

// Opening is what a token stands for.
type Opening struct {
	Token   audit.Hash
	Class   string
	Value   string
	Subject string
}

// made is a key that was made and is not in ClickHouse for sure.
type made struct {
	subject string
	key     audit.SubjectKey
}

// Vault holds the keys of one stream. Fill and FillLocally belong to one
// goroutine; Flush, Stats and Close may be called by others.
type Vault struct {
	stream string
	server store.Server
	log    zerolog.Logger

	mu      sync.Mutex // held while keys are looked for, made and stored
	client  connection
	tokens  audit.Tokenizer
	keys    *cache[string, audit.SubjectKey]
	opened  *cache[audit.Hash, struct{}] // tokens whose opening is durable
	begun   bool                         // no insert of an earlier process runs any more
	whole   bool                         // every key of the stream was in memory once
	pending map[string]audit.SubjectKey  // made, and durable nowhere yet: kept for the next attempt
	journal *journal

	counts struct{ tokens, hits, misses, made atomic.Uint64 }
	held   atomic.Int64
	queued atomic.Int64
}

// Stats is what the metrics tell. The counts grow for the life of the Vault.
type Stats struct {
	Tokens  uint64 // filled in
	Hits    uint64 // keys that were in memory
	Misses  uint64 // keys that had to be looked for
	Made    uint64 // keys made
	Held    int    // keys in memory
	Waiting int    // keys and openings in the journal
}

// New returns the vault of stream. It touches nothing before Open.
func New(server store.Server, cfg Config, stream, stateDir string, log zerolog.Logger) *Vault {
	return &Vault{
		stream: stream, server: server,
		log:     log.With().Str("component", "vault").Str("stream", stream).Logger(),
		client:  connection{server: server},
		keys:    newCache[string, audit.SubjectKey](cfg.Subjects),
		opened:  newCache[audit.Hash, struct{}](cfg.Subjects),
		pending: make(map[string]audit.SubjectKey),
		journal: newJournal(stateDir, stream),
	}
}

// Open reads the journal that an earlier process left. Unless entries wait in
// the spool, nothing that was sealed with its keys is left either, since entries
// go to ClickHouse only behind it: then it is removed.
func (v *Vault) Open(spooled bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !spooled {
		return v.journal.remove()
	}
	if err := v.journal.load(); err != nil {
		return fmt.Errorf("open vault of stream %s: %w", v.stream, err)
	}
	return nil
}

// Close lets go of the connection and of the journal, which stays where it is. The
// Vault can be used again as long as nobody else has written to it.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return errors.Join(v.client.close(), v.journal.close())
}

// Stats returns the counts so far.
func (v *Vault) Stats() Stats {
	c := &v.counts
	return Stats{c.tokens.Load(), c.hits.Load(), c.misses.Load(), c.made.Load(), int(v.held.Load()), int(v.queued.Load())}
}

// Fill writes tokens into blanks. It returns nil once every key and opening
// that they need is stored in ClickHouse (or in the journal, from before); until
// then no blank may be looked at. After an error it may be called again: keys
// that were made stay the same.
func (v *Vault) Fill(ctx context.Context, blanks []audit.Blank) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.begin(ctx); err != nil {
		return fmt.Errorf("fill in tokens of stream %s: %w", v.stream, err)
	}
	found := make(map[string]audit.SubjectKey)
	missing := v.missing(blanks, found)
	if err := v.lookUp(ctx, missing, found); err != nil {
		return fmt.Errorf("look for subject keys of stream %s: %w", v.stream, err)
	}
	keys := v.makeMissing(missing, found)
	openings := v.fill(blanks, found)
	if err := v.store(ctx, keys, openings); err != nil {
		return fmt.Errorf("store subject keys of stream %s: %w", v.stream, err)
	}
	v.remember(blanks, found, openings)
	return nil
}

// FillLocally is Fill without ClickHouse: what is new goes to the journal. It
// is ErrUndecided when a key is not in memory and may be in ClickHouse.
func (v *Vault) FillLocally(blanks []audit.Blank) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := make(map[string]audit.SubjectKey)
	missing := v.missing(blanks, found)
	if !v.decided(missing) {
		return fmt.Errorf("fill in tokens of stream %s: %w", v.stream, ErrUndecided)
	}
	keys := v.makeMissing(missing, found)
	openings := v.fill(blanks, found)
	if err := v.journal.append(keys, openings); err != nil {
		return fmt.Errorf("fill in tokens of stream %s: %w", v.stream, err)
	}
	v.remember(blanks, found, openings)
	return nil
}

// decided reports whether subjects whose key is not at hand certainly have none:
// because every key is in memory, or because ClickHouse has said so before it
// went away.
func (v *Vault) decided(missing []string) bool {
	if v.whole && !v.keys.lost {
		return true
	}
	return !slices.ContainsFunc(missing, func(name string) bool { _, ok := v.pending[name]; return !ok })
}

// Flush brings the journal to ClickHouse. No entry that was sealed behind it may
// be stored before that. flushed says that there was something to bring.
//
// A crash in between leaves the journal, and the next Flush stores the same rows
// once more.
func (v *Vault) Flush(ctx context.Context) (flushed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.journal.empty() {
		return false, nil
	}
	if err := v.flush(ctx); err != nil {
		return false, fmt.Errorf("bring journal of the vault of stream %s to ClickHouse: %w", v.stream, err)
	}
	return true, nil
}

func (v *Vault) flush(ctx context.Context) error {
	if err := v.begin(ctx); err != nil {
		return err
	}
	var subjects []string
	for _, m := range v.journal.keys {
		subjects = append(subjects, m.subject)
	}
	there := make(map[string]audit.SubjectKey)
	if err := v.lookUp(ctx, subjects, there); err != nil {
		return err
	}
	for _, m := range v.journal.keys {
		if key, ok := there[m.subject]; ok && key != m.key {
			return audit.WithHint(fmt.Errorf("a data subject has another key in ClickHouse than on this disk: %w", audit.ErrNeedsHuman),
				"another sidecar has written this chain meanwhile; docs/personal-values.md says how to go on")
		}
	}
	if err := v.store(ctx, v.journal.keys, v.journal.openings); err != nil {
		return err
	}
	v.log.Info().Int("keys", len(v.journal.keys)).Int("openings", len(v.journal.openings)).Msg("journal brought to clickhouse")
	for _, m := range v.journal.keys {
		v.keys.put(m.subject, m.key)
	}
	v.queued.Store(0)
	return v.journal.remove()
}

// begin waits, once, for the inserts of earlier processes, and then takes into
// memory what fits of the keys there are.
func (v *Vault) begin(ctx context.Context) error {
	if v.begun {
		return nil
	}
	if err := v.fence(ctx); err != nil {
		return err
	}
	whole, err := v.load(ctx)
	if err != nil {
		return err
	}
	v.begun, v.whole = true, whole
	return nil
}

// missing lists the subjects of blanks whose key is not at hand, each once; the
// other keys are put into found.
func (v *Vault) missing(blanks []audit.Blank, found map[string]audit.SubjectKey) []string {
	var missing []string
	looked := make(map[string]bool)
	for i := range blanks {
		name := blanks[i].Subject
		if _, ok := found[name]; ok || looked[name] {
			continue
		}
		if key, ok := v.known(name); ok {
			found[name] = key
			v.counts.hits.Add(1)
			continue
		}
		looked[name] = true
		missing = append(missing, name)
		v.counts.misses.Add(1)
	}
	return missing
}

func (v *Vault) known(subject string) (key audit.SubjectKey, ok bool) {
	if key, ok = v.journal.known[subject]; ok {
		return key, true
	}
	return v.keys.get(subject)
}

// makeMissing makes a key for every subject of missing that is not in found, and
// puts it there. A key of an attempt before, of which nobody knows whether it
// was stored, is taken again: the same row twice is the same as once.
func (v *Vault) makeMissing(missing []string, found map[string]audit.SubjectKey) []made {
	var keys []made
	for _, name := range missing {
		if _, ok := found[name]; ok {
			continue
		}
		key, again := v.pending[name]
		if !again {
			_, _ = rand.Read(key[:]) // it never fails: the program would end
			v.pending[name] = key
		}
		found[name] = key
		keys = append(keys, made{name, key})
	}
	return keys
}

// fill writes the tokens and lists the openings that are not durable yet.
func (v *Vault) fill(blanks []audit.Blank, keys map[string]audit.SubjectKey) []Opening {
	var openings []Opening
	listed := make(map[audit.Hash]bool)
	for i := range blanks {
		b := &blanks[i]
		key := keys[b.Subject]
		token := v.tokens.Token(&key, b.Class, b.Value)
		audit.AppendToken(b.At[:0], token)
		if _, ok := v.opened.get(token); !ok && !listed[token] {
			listed[token] = true
			openings = append(openings, Opening{token, b.Class, string(b.Value), b.Subject})
		}
	}
	return openings
}

// remember keeps what is durable now.
func (v *Vault) remember(blanks []audit.Blank, keys map[string]audit.SubjectKey, openings []Opening) {
	for name, key := range keys {
		if _, made := v.pending[name]; made {
			delete(v.pending, name)
			v.counts.made.Add(1)
		}
		v.keys.put(name, key)
	}
	for i := range openings {
		v.opened.put(openings[i].Token, struct{}{})
	}
	v.counts.tokens.Add(uint64(len(blanks)))
	v.held.Store(int64(v.keys.len()))
	v.queued.Store(int64(v.journal.size()))
}

// fenceWait is how long an insert of an earlier process may take to end before
// it is killed.
const fenceWait = 5 * time.Second
