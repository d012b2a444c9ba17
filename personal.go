package pgwitness

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/vault"
)

// personal puts tokens in the place of personal values, for one life of a
// stream. A nil one has nothing to do.
//
//	fill    before a batch is sealed: the keys and the clear values are durable
//	        in ClickHouse; or, while it is away, in the journal of the vault
//	flush   before entries are inserted: the journal is brought to ClickHouse
//
// So no stored entry has a token that nobody can open, wherever a crash comes.
type personal struct {
	vault    *vault.Vault
	spooling func() bool // entries go to the spool
	pressure pressure
	metrics  *metrics
	stream   string
	log      zerolog.Logger
}

// openVault opens the vault of s; nil when the configuration says of nothing
// that it is personal. What the vault holds in memory outlives a life of the
// stream, as long as no other sidecar was at work in between: a stream that is
// interrupted because ClickHouse goes away must know the keys without it.
func (s *stream) openVault(server store.Server, sp *spool.Spool) (*personal, error) {
	if !s.cfg.hasPersonal() {
		return nil, nil
	}
	if s.vault == nil {
		v := vault.New(server, s.w.cfg.Vault, s.cfg.Name, s.w.cfg.StateDir, s.log)
		_, spooled := sp.End()
		if err := v.Open(spooled); err != nil {
			return nil, err
		}
		s.vault = v
	}
	return &personal{vault: s.vault, metrics: s.w.metrics, stream: s.cfg.Name, log: s.log}, nil
}

// fill fills in blanks. While entries go to the spool, and when the audited
// database cannot wait for ClickHouse, it does without; but a person who may
// have a key that is not in memory must not get a second one, and so is waited
// for.
func (p *personal) fill(ctx context.Context, blanks []audit.Blank) error {
	defer func() { p.metrics.vault(p.stream, p.vault.Stats()) }()
	if len(blanks) == 0 {
		return nil
	}
	for held := false; ; held = true {
		if p.spooling() {
			if err := p.vault.FillLocally(blanks); !errors.Is(err, vault.ErrUndecided) {
				return err
			}
		}
		err := p.pressure.during(ctx, func(ctx context.Context) error { return p.fillPatiently(ctx, blanks) })
		if !errors.Is(err, errPressed) {
			return err
		}
		if err = p.vault.FillLocally(blanks); !errors.Is(err, vault.ErrUndecided) {
			return err
		}
		if !held {
			p.log.Error().Err(err).Str("hint", "a vault.subjects that holds all of them lets the spool go on; the server keeps the log meanwhile").
				Msg("waiting for clickhouse after all")
		}
		p.pressure.release()
		if !sleep(ctx, spoolPause) {
			return context.Cause(ctx)
		}
	}
}

// fillPatiently tries until the vault has what it needs or ctx ends.
func (p *personal) fillPatiently(ctx context.Context, blanks []audit.Blank) error {
	return p.patiently(ctx, func() error { return p.vault.Fill(ctx, blanks) })
}

// flush brings to ClickHouse what only the journal has. It tries until that is
// done or ctx ends.
func (p *personal) flush(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.patiently(ctx, func() error {
		flushed, err := p.vault.Flush(ctx)
		if flushed {
			p.pressure.release()
		}
		return err
	})
}

// maxFillBackoff is the longest pause between two attempts.
const maxFillBackoff = 5 * time.Second

// patiently makes attempts until one succeeds, a human is needed, or ctx ends.
func (p *personal) patiently(ctx context.Context, attempt func() error) error {
	for wait := firstBackoff; ; wait = min(2*wait, maxFillBackoff) {
		err := attempt()
		if err == nil || errors.Is(err, audit.ErrNeedsHuman) {
			return err
		}
		if ctx.Err() == nil {
			p.log.Warn().Err(err).Str("hint", audit.Hint(err)).Dur("wait", wait).Msg("vault does not answer, trying again")
		}
		if !sleep(ctx, wait) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// look tells whether the server keeps too much log, see pressure.
func (p *personal) look(tooMuch bool, now time.Time) {
	if p != nil {
		p.pressure.look(tooMuch, now)
	}
}

// rest lets go of connection and file until the next life.
func (p *personal) rest() {
	if p == nil {
		return
	}
	if err := p.vault.Close(); err != nil {
		p.log.Warn().Err(err).Msg("vault not closed properly")
	}
}
