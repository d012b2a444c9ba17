package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// genesisTag is the first netstring of a genesis: format and version.
const genesisTag = "pgwitness/genesis/v1"

// ClickHouse is a trail in the database that the sidecar writes to. It reads
// with the rights of the server's user, and keeps no connection between calls.
type ClickHouse struct{ server store.Server }

// FromClickHouse returns the trail on server.
func FromClickHouse(server store.Server) *ClickHouse { return &ClickHouse{server} }

// Genesis implements source.
func (c *ClickHouse) Genesis(ctx context.Context, stream string) (hash audit.Hash, rows uint64, err error) {
	var count proto.ColUInt64
	q := ch.Query{
		Body:       `SELECT count() AS rows FROM genesis WHERE stream = {stream:String}`,
		Parameters: []proto.Parameter{store.Param("stream", stream)},
		Result:     proto.Results{{Name: "rows", Data: &count}},
	}
	err = c.query(ctx, q, func() error {
		rows = count[0]
		return nil
	})
	if err != nil || rows != 1 {
		return audit.Hash{}, rows, err
	}
	err = c.with(ctx, func(client *ch.Client) error {
		g, _, _, err := store.ReadGenesis(ctx, client, stream)
		hash = genesisHash(&g)
		return err
	})
	return hash, rows, err
}

// genesisHash is the prev_hash of sequence 0.
func genesisHash(g *store.Genesis) audit.Hash {
	b := audit.AppendNetstring(nil, genesisTag)
	for _, column := range []string{
		g.Stream, g.SystemID, strconv.FormatUint(uint64(g.Timeline), 10), g.Database, g.Slot, g.Publication,
		string(g.LogPublicKey), string(g.Random[:]), strconv.FormatInt(g.CreatedAt, 10),
	} {
		b = audit.AppendNetstring(b, column)
	}
	return sha256.Sum256(b)
}

// Extent implements source.
func (c *ClickHouse) Extent(ctx context.Context, stream string) (rows, last uint64, err error) {
	var count, highest proto.ColUInt64
	q := ch.Query{
		Body:       `SELECT count() AS rows, max(sequence) AS last FROM audit_logs WHERE stream = {stream:String} SETTINGS optimize_use_projections = 0`,
		Parameters: []proto.Parameter{store.Param("stream", stream)},
		Result:     proto.Results{{Name: "rows", Data: &count}, {Name: "last", Data: &highest}},
	}
	err = c.query(ctx, q, func() error {
		rows, last = count[0], highest[0]
		return nil
	})
	return rows, last, err
}

// Read implements source. The rows lie in this order on disk, so the server
// merges its parts and sorts nothing; one thread serves one segment, because
// segments are read side by side. A block ends at 8,192 rows, or at a megabyte
// by a default of the server: larger ones take memory and save no time.
func (c *ClickHouse) Read(ctx context.Context, stream string, from, to uint64, use func(*store.Columns) error) error {
	query := store.Select("stream = {stream:String} AND sequence BETWEEN {from:UInt64} AND {to:UInt64}",
		"ORDER BY sequence SETTINGS optimize_use_projections = 0, max_threads = 1, optimize_read_in_order = 1, read_in_order_use_buffering = 0, max_block_size = 8192")
	return c.with(ctx, func(client *ch.Client) error {
		return store.Blocks(ctx, client, query, use, store.Param("stream", stream), store.Param("from", from), store.Param("to", to))
	})
}

// query runs q on a connection of its own and calls use with each block.
func (c *ClickHouse) query(ctx context.Context, q ch.Query, use func() error) error {
	return c.with(ctx, func(client *ch.Client) error { return store.Receive(ctx, client, q, use) })
}

func (c *ClickHouse) with(ctx context.Context, do func(*ch.Client) error) error {
	client, err := c.server.Dial(ctx)
	if err != nil {
		return err
	}
	if err := do(client); err != nil {
		return errors.Join(c.server.Explain(err), closeQuietly(client))
	}
	return client.Close()
}

// closeQuietly closes a connection on which a query failed; that it may be
// closed already is not worth a word.
func closeQuietly(client *ch.Client) error {
	if err := client.Close(); err != nil && !errors.Is(err, ch.ErrClosed) {
		return err
	}
	return nil
}
