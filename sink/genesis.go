package sink

import (
	"bytes"
	"context"
	"fmt"
	"reflect"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Genesis reads the beginning of the chain. found is false when there is none.
func (s *Sink) Genesis(ctx context.Context) (g store.Genesis, settings string, found bool, err error) {
	err = s.asides.do(ctx, func(client *ch.Client) error {
		g, settings, found, err = store.ReadGenesis(ctx, client, s.stream)
		return err
	})
	if err != nil || found {
		return g, settings, found, err
	}
	var rows proto.ColUInt64
	err = s.query(ctx, &s.asides, `SELECT count() AS rows FROM genesis WHERE stream = {stream:String}`, proto.Results{{Name: "rows", Data: &rows}})
	if err == nil && (len(rows) != 1 || rows[0] != 0) {
		err = errNoAnswer
	}
	if err != nil {
		return g, "", false, fmt.Errorf("read genesis of stream %s: %w", s.stream, err)
	}
	return g, "", false, nil
}

// CreateGenesis stores the beginning of the chain, once: if another process
// was faster with a different one, a human must look. settings is the text of
// the session settings that values are rendered under.
//
// A crash leaves either nothing or the whole row; the next start reads it.
func (s *Sink) CreateGenesis(ctx context.Context, g store.Genesis, settings string) error {
	if g.Stream != s.stream {
		return fmt.Errorf("create genesis: stream %q, want %q", g.Stream, s.stream)
	}
	if _, _, found, err := s.Genesis(ctx); err != nil || found {
		if err != nil {
			return err
		}
		return s.sameGenesis(ctx, g)
	}
	input := store.GenesisInput(g, settings)
	err := s.asides.do(ctx, func(client *ch.Client) error {
		return store.Do(ctx, client, ch.Query{
			Body: input.Into("genesis"), QueryID: s.prefix() + "genesis", Input: input,
			Settings: s.insertSettings("genesis/" + s.stream),
		})
	})
	if err != nil {
		return fmt.Errorf("create genesis of stream %s: %w", s.stream, err)
	}
	return s.sameGenesis(ctx, g)
}

// sameGenesis checks that the stored genesis is g.
func (s *Sink) sameGenesis(ctx context.Context, g store.Genesis) error {
	stored, _, found, err := s.Genesis(ctx)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("create genesis of stream %s: it was accepted but is not stored", s.stream)
	}
	if !same(stored, g) {
		return fmt.Errorf("create genesis of stream %s: another one is stored already: %w", s.stream, audit.ErrNeedsHuman)
	}
	return nil
}

// same tells whether two geneses have the same preimage; a missing key and an
// empty one do.
func same(a, b store.Genesis) bool {
	if !bytes.Equal(a.LogPublicKey, b.LogPublicKey) {
		return false
	}
	a.LogPublicKey, b.LogPublicKey = nil, nil
	return reflect.DeepEqual(a, b)
}
