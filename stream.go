package pgwitness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/vault"
)

// stream is one audited database of a running sidecar. It belongs to the
// goroutine of run, and within it to watch while the pipeline runs.
type stream struct {
	w   *Witness
	cfg StreamConfig
	log zerolog.Logger

	catalog *cdc.Catalog // keeps what it knows from one life of the stream to the next
	state   sink.State   // as it was saved last, or will be next
	started bool         // the entry start is written for this tenure
	stored  bool         // the last life of the stream stored something

	vault *vault.Vault // nil: nothing is personal, or another sidecar may have made keys since

	catalogAt time.Time // when the catalog was last compared
	alarms    alarms
	rows      *baseline.Runner // of this life; nil for none
}

func newStream(w *Witness, cfg StreamConfig) *stream {
	return &stream{
		w: w, cfg: cfg, log: w.log.With().Str("stream", cfg.Name).Logger(),
		catalog: cdc.NewCatalog(cfg.Postgres.Config),
	}
}

// run waits until no other sidecar has the stream, takes it up, and streams
// until ctx ends (nil) or something fails.
func (s *stream) run(ctx context.Context) error {
	s.stored = false
	t, err := s.takeOver(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	server, err := s.w.cfg.ClickHouse.Writer()
	if err != nil {
		return err
	}
	k := sink.New(server, s.w.cfg.Sink, s.cfg.Name, s.log)
	defer k.Close()
	reader := cdc.New(s.cfg.Postgres.Config, s.catalog, s.log)
	defer reader.Close(context.WithoutCancel(ctx))
	defer s.catalog.Close(context.WithoutCancel(ctx))
	sp := spool.New(s.w.cfg.StateDir, s.cfg.Name, s.w.cfg.Spool, chain.Link)
	if err := sp.Open(); err != nil {
		return err
	}
	defer sp.Close()
	v, err := s.openVault(server, sp)
	if err != nil {
		return err
	}
	defer v.rest()
	p, err := s.prepare(ctx, k, reader, sp, v)
	if err != nil {
		return err
	}
	if err := s.announce(ctx, t, k, reader, p.storage.isSpooling()); err != nil {
		return p.storage.leave(ctx, err)
	}
	s.w.metrics.up.WithLabelValues(s.cfg.Name).Set(1)
	s.w.metrics.head(s.cfg.Name, p.gather.head)
	if !p.storage.isSpooling() {
		s.w.states.set(s.cfg.Name, true, "streaming")
	}
	s.log.Info().Uint64("size", p.gather.head.Size).Str("slot", s.cfg.Postgres.Slot).Msg("streaming")
	w := &watcher{stream: s, tenure: t, sink: k, reader: reader, marks: &p.marks, rows: p.rows}
	return p.storage.leave(ctx, s.live(ctx, p, w))
}

// live runs the pipeline, and beside it the watcher and the baseline. When ctx ends the watcher
// says goodbye before the pipeline drains; when one of the two fails the other
// ends as well.
func (s *stream) live(ctx context.Context, p *pipeline, w *watcher) error {
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	watching, stopWatching := context.WithCancel(ctx)
	waitBaseline := besides(watching, p.rows)
	defer waitBaseline()
	watched := make(chan error, 1)
	go func() {
		defer stopReading()
		err := w.run(watching)
		if err == nil && ctx.Err() != nil {
			w.farewell()
		}
		watched <- err
	}()
	err := p.run(reading)
	stopWatching()
	if failed := <-watched; err == nil {
		err = failed
	}
	s.stored = p.marks.entries.Load() > 0
	return err
}

// prepare recovers the head and makes the pipeline that goes on from there.
// Whatever does not fit together is refused.
func (s *stream) prepare(ctx context.Context, k *sink.Sink, reader *cdc.Reader, sp *spool.Spool, v *personal) (*pipeline, error) {
	keys, err := s.secrets(ctx)
	if err != nil {
		return nil, err
	}
	st, away, err := s.takeUp(ctx, k, reader, sp)
	if err != nil {
		return nil, err
	}
	if st.noSlot != nil && !st.begun {
		return nil, st.noSlot
	}
	genesis, err := s.genesis(ctx, k, st)
	if err != nil {
		return nil, err
	}
	if st.head.Size == 0 {
		st.head = genesis.Head()
	}
	s.state = st.state
	s.state.Timeline = st.slot.Timeline
	p := &pipeline{stream: s.cfg.Name, reader: reader, sink: k, metrics: s.w.metrics, noticed: s.noticed, log: s.log}
	if p.storage, err = s.newStorage(k, reader, sp, st, genesis, away, &p.marks); err != nil {
		return nil, err
	}
	if v != nil {
		p.storage.vault, v.spooling = v, p.storage.isSpooling
	}
	position, err := s.position(ctx, k, reader, st)
	if err != nil {
		return nil, p.storage.leave(ctx, err)
	}
	if !p.storage.isSpooling() {
		p.storage.remember(st.head, position)
	}
	reader.Acknowledge(position) // it refuses a slot that stands elsewhere
	if p.enrich, err = enrich.New(s.cfg.Name, s.w.attribute(s.enrichConfig(), st.slot.Database, s.cfg.Postgres.DSN), keys.Stamp); err != nil {
		return nil, err
	}
	p.gather = newGatherer(p.enrich, chain.New(keys.Stream, 0), k, s.w.cfg.Batch, st.head)
	if v := p.storage.vault; v != nil {
		p.gather.fill = v.fill
	}
	p.gather.stored = st.state.Covering(st.head)
	p.rows = s.newBaseline(p, keys.Stamp, st.head.Size)
	s.rows = p.rows
	return p, nil
}

// secrets reads the stamp key and the stream secret from the audited database.
func (s *stream) secrets(ctx context.Context) (setup.Keys, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Postgres.ConnectTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.cfg.Postgres.DSN)
	if err != nil {
		return setup.Keys{}, fmt.Errorf("connect to audited database: %w", err)
	}
	defer conn.Close(ctx)
	return setup.Secrets(ctx, conn)
}

// genesis returns the beginning of the chain, creating it at the first start.
func (s *stream) genesis(ctx context.Context, k *sink.Sink, st standing) (chain.Genesis, error) {
	slot := st.slot
	if st.begun {
		return st.genesis, errors.Join(s.sameDatabase(st.genesis, slot), s.w.sameKey(st.genesis))
	}
	if st.head.Size > 0 {
		return chain.Genesis{}, fmt.Errorf("there are %d entries and no genesis: %w", st.head.Size, audit.ErrNeedsHuman)
	}
	key, err := s.w.signingKey()
	if err != nil {
		return chain.Genesis{}, err
	}
	g := chain.Genesis{
		Stream: s.cfg.Name, SystemID: slot.SystemID, Timeline: slot.Timeline, Database: slot.Database,
		Slot: s.cfg.Postgres.Slot, Publication: s.cfg.Postgres.Publication,
		LogPublicKey: key.Public().(ed25519.PublicKey), CreatedAt: time.Now().UnixMicro(),
	}
	if _, err := rand.Read(g.Random[:]); err != nil {
		return chain.Genesis{}, fmt.Errorf("make genesis: %w", err)
	}
	return g, k.CreateGenesis(ctx, store.Genesis(g), cdc.Settings())
}

// sameDatabase refuses to continue the chain of one database with the changes
// of another.
func (s *stream) sameDatabase(g chain.Genesis, slot cdc.SlotState) error {
	if g.SystemID == slot.SystemID && g.Database == slot.Database {
		return nil
	}
	return audit.WithHint(
		fmt.Errorf("the chain was begun on database %s of cluster %s, and the DSN leads to %s of %s: %w",
			g.Database, g.SystemID, slot.Database, slot.SystemID, audit.ErrNeedsHuman),
		"correct the DSN, or give this database a stream of its own")
}

// position is up to where the log is stored, as far as that was saved. It is
// saved before every acknowledgement, so a slot that stands beyond it was moved
// by somebody else, and changes are missing: that, and every other sign of a
// gap, is refused.
func (s *stream) position(ctx context.Context, k *sink.Sink, reader *cdc.Reader, st standing) (audit.LSN, error) {
	if st.saved == 0 && st.head.Size == 0 {
		// The first start. A crash from here on finds the position saved.
		return st.slot.ConfirmedFlush, k.SavePosition(ctx, st.slot.ConfirmedFlush)
	}
	l, err := diagnose(ctx, reader, st)
	if err != nil {
		return 0, err
	}
	if l != nil {
		s.w.metrics.gaps.WithLabelValues(s.cfg.Name).Inc()
		return 0, l.err(s.cfg.Name)
	}
	return st.saved, nil
}

// enrichConfig is the configuration of enrich with the named tables.
func (s *stream) enrichConfig() enrich.Config {
	cfg := s.cfg.Config
	cfg.Publication, cfg.NoStatements = s.cfg.Postgres.Publication, s.cfg.DDL == setup.DDLNames
	for _, t := range s.cfg.Tables {
		if schema, name, _ := strings.Cut(t.Name, "."); !strings.ContainsAny(t.Name, "*?") {
			cfg.Tables = append(cfg.Tables, enrich.Table{Schema: schema, Name: name, Resource: t.Resource, Key: t.Key,
				ActorColumn: t.ActorColumn, ReasonColumn: t.ReasonColumn, Secret: t.Secret,
				Subject: t.Subject, Personal: t.Personal, Activity: t.Activity})
		}
	}
	return cfg
}

// sameKey refuses to write a chain with another signing key than the one that
// its genesis names: a standby needs a copy of the first sidecar's.
func (w *Witness) sameKey(g chain.Genesis) error {
	file := filepath.Join(w.cfg.StateDir, signingKeyFile)
	hint := "copy " + signingKeyFile + " from the state folder of the sidecar that began the chain to " + w.cfg.StateDir
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return audit.WithHint(fmt.Errorf("the chain has a signing key, and %s does not exist: %w", file, audit.ErrNeedsHuman), hint)
	}
	key, err := w.signingKey()
	if err != nil {
		return err
	}
	if !bytes.Equal(key.Public().(ed25519.PublicKey), g.LogPublicKey) {
		return audit.WithHint(fmt.Errorf("%s is not the signing key of this chain: %w", file, audit.ErrNeedsHuman), hint)
	}
	return nil
}

// signingKeyFile lies in the state folder.
const signingKeyFile = "signing.key"

// signingKey reads the Ed25519 key that checkpoints will be signed with,
// making it at the first start. It never leaves the state folder.
func (w *Witness) signingKey() (ed25519.PrivateKey, error) {
	file := filepath.Join(w.cfg.StateDir, signingKeyFile)
	seed, err := os.ReadFile(file)
	if err == nil && len(seed) == ed25519.SeedSize {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	if err == nil {
		return nil, fmt.Errorf("read signing key %s: %d bytes, want %d: %w", file, len(seed), ed25519.SeedSize, audit.ErrNeedsHuman)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	return key, writeSecret(file, key.Seed())
}

// writeSecret writes a file that only its owner can read, and never replaces one.
func writeSecret(file string, content []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
