package pgwitness

import (
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
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
)

// stream is one audited database of a running sidecar.
type stream struct {
	w   *Witness
	cfg StreamConfig
	log zerolog.Logger

	catalog *cdc.Catalog // keeps what it knows from one life of the stream to the next
}

func newStream(w *Witness, cfg StreamConfig) *stream {
	return &stream{
		w: w, cfg: cfg, log: w.log.With().Str("stream", cfg.Name).Logger(),
		catalog: cdc.NewCatalog(cfg.Postgres.Config),
	}
}

// run takes the stream up and streams until ctx ends (nil) or something fails.
func (s *stream) run(ctx context.Context) error {
	server, err := s.w.cfg.ClickHouse.Writer()
	if err != nil {
		return err
	}
	k := sink.New(server, s.w.cfg.Sink, s.cfg.Name, s.log)
	defer k.Close()
	defer s.catalog.Close(context.WithoutCancel(ctx))
	p, reader, err := s.prepare(ctx, k)
	if err != nil {
		return err
	}
	s.w.metrics.up.WithLabelValues(s.cfg.Name).Set(1)
	s.w.metrics.head(s.cfg.Name, p.gather.head)
	s.w.states.set(s.cfg.Name, true, "streaming")
	s.log.Info().Uint64("size", p.gather.head.Size).Str("slot", s.cfg.Postgres.Slot).Msg("streaming")

	watching, stop := context.WithCancel(ctx)
	defer stop()
	go s.watchLag(watching, reader)
	return p.run(ctx)
}

// prepare recovers the head and makes the pipeline that goes on from there.
// Whatever does not fit together is refused.
func (s *stream) prepare(ctx context.Context, k *sink.Sink) (*pipeline, *cdc.Reader, error) {
	keys, err := s.secrets(ctx)
	if err != nil {
		return nil, nil, err
	}
	reader := cdc.New(s.cfg.Postgres.Config, s.catalog, s.log)
	slot, err := reader.Slot(ctx)
	if err != nil {
		return nil, nil, err
	}
	head, err := k.Recover(ctx)
	if err != nil {
		return nil, nil, err
	}
	genesis, err := s.genesis(ctx, k, slot, head)
	if err != nil {
		return nil, nil, err
	}
	if head.Size == 0 {
		head = genesis.Head()
	}
	position, err := s.position(ctx, k, slot, head)
	if err != nil {
		return nil, nil, err
	}
	reader.Acknowledge(position) // it refuses a slot that stands elsewhere
	e, err := enrich.New(s.cfg.Name, s.enrichConfig(), keys.Stamp)
	if err != nil {
		return nil, nil, err
	}
	return &pipeline{
		stream:  s.cfg.Name,
		reader:  reader,
		sink:    k,
		gather:  newGatherer(e, chain.New(keys.Stream, 0), s.w.cfg.Batch, head),
		enrich:  e,
		metrics: s.w.metrics,
		log:     s.log,
	}, reader, nil
}

// secrets reads the stamp key and the stream secret from the audited database.
func (s *stream) secrets(ctx context.Context) (setup.Keys, error) {
	conn, err := pgx.Connect(ctx, s.cfg.Postgres.DSN)
	if err != nil {
		return setup.Keys{}, fmt.Errorf("connect to audited database: %w", err)
	}
	defer conn.Close(ctx)
	return setup.Secrets(ctx, conn)
}

// genesis returns the beginning of the chain, creating it at the first start.
func (s *stream) genesis(ctx context.Context, k *sink.Sink, slot cdc.SlotState, head audit.Head) (chain.Genesis, error) {
	stored, _, found, err := k.Genesis(ctx)
	if err != nil {
		return chain.Genesis{}, err
	}
	if found {
		g := chain.Genesis(stored)
		return g, s.sameDatabase(g, slot)
	}
	if head.Size > 0 {
		return chain.Genesis{}, fmt.Errorf("there are %d entries and no genesis: %w", head.Size, audit.ErrNeedsHuman)
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
// by somebody else, and changes are missing; the reader refuses that.
func (s *stream) position(ctx context.Context, k *sink.Sink, slot cdc.SlotState, head audit.Head) (audit.LSN, error) {
	saved, err := k.LastPosition(ctx)
	if err != nil {
		return 0, err
	}
	if saved == 0 && head.Size == 0 {
		// The first start. A crash from here on finds the position saved.
		return slot.ConfirmedFlush, k.SavePosition(ctx, slot.ConfirmedFlush)
	}
	return saved, nil
}

// watchLag keeps the metrics of lag until ctx ends.
func (s *stream) watchLag(ctx context.Context, reader *cdc.Reader) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		slot, err := reader.Slot(ctx)
		if err != nil {
			continue // the reader will notice, and tell
		}
		s.w.metrics.lagBytes.WithLabelValues(s.cfg.Name).Set(float64(slot.Lag()))
		s.w.metrics.retained.WithLabelValues(s.cfg.Name).Set(float64(slot.Retained()))
	}
}

// enrichConfig is the configuration of enrich with the named tables.
func (s *stream) enrichConfig() enrich.Config {
	cfg := s.cfg.Config
	for _, t := range s.cfg.Tables {
		if schema, name, _ := strings.Cut(t.Name, "."); !strings.ContainsAny(t.Name, "*?") {
			cfg.Tables = append(cfg.Tables, enrich.Table{Schema: schema, Name: name, Resource: t.Resource, Key: t.Key})
		}
	}
	return cfg
}

// signingKey reads the Ed25519 key that checkpoints will be signed with,
// making it at the first start. It never leaves the state folder.
func (w *Witness) signingKey() (ed25519.PrivateKey, error) {
	file := filepath.Join(w.cfg.StateDir, "signing.key")
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
