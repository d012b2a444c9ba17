package store

import (
	"context"
	"fmt"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// Genesis is the row that a chain begins with. Its fields are those of
// chain.Genesis, in the same order, so that one converts into the other.
type Genesis struct {
	Stream       string
	SystemID     string // system identifier of the PostgreSQL cluster, decimal
	Timeline     uint32
	Database     string
	Slot         string
	Publication  string
	LogPublicKey []byte   // Ed25519 public key, 32 bytes
	Random       [32]byte // so that no two chains start alike
	CreatedAt    int64    // microseconds since 1970, UTC
}

// genesisColumns is a block of the table genesis.
type genesisColumns struct {
	stream, systemID                 proto.ColStr
	timeline                         proto.ColUInt32
	database, slot, publication, key proto.ColStr
	random                           proto.ColFixedStr32
	createdAt                        proto.ColDateTime64
	settings                         proto.ColStr
}

func (c *genesisColumns) named() []namedColumn {
	c.createdAt.WithPrecision(proto.PrecisionMicro)
	return []namedColumn{
		{"stream", &c.stream}, {"system_id", &c.systemID}, {"timeline", &c.timeline}, {"database", &c.database},
		{"slot", &c.slot}, {"publication", &c.publication}, {"log_public_key", &c.key}, {"random", &c.random},
		{"created_at", &c.createdAt}, {"settings", &c.settings},
	}
}

// GenesisInput is the block that stores g. settings is the text of the session
// settings that values are rendered under; it is kept beside g and not hashed.
func GenesisInput(g Genesis, settings string) proto.Input {
	var c genesisColumns
	c.stream.Append(g.Stream)
	c.systemID.Append(g.SystemID)
	c.timeline.Append(g.Timeline)
	c.database.Append(g.Database)
	c.slot.Append(g.Slot)
	c.publication.Append(g.Publication)
	c.key.AppendBytes(g.LogPublicKey)
	c.random.Append(g.Random)
	c.createdAt.Data = append(c.createdAt.Data, proto.DateTime64(g.CreatedAt))
	c.settings.Append(settings)
	var in proto.Input
	for _, n := range c.named() {
		in = append(in, proto.InputColumn{Name: n.name, Data: n.data})
	}
	return in
}

// ReadGenesis reads the beginning of the chain of stream. found is false when
// there is none; two of them are a matter for a human.
func ReadGenesis(ctx context.Context, client *ch.Client, stream string) (g Genesis, settings string, found bool, err error) {
	var c genesisColumns
	var names string
	var results proto.Results
	for i, n := range c.named() {
		if i > 0 {
			names += ", "
		}
		names += n.name
		results = append(results, proto.ResultColumn{Name: n.name, Data: n.data})
	}
	rows := 0
	err = Receive(ctx, client, ch.Query{
		Body:       "SELECT " + names + " FROM genesis WHERE stream = {stream:String}",
		Parameters: []proto.Parameter{Param("stream", stream)},
		Result:     results,
	}, func() error {
		rows += c.timeline.Rows()
		g, settings = c.row(), c.settings.Row(0)
		return nil
	})
	if err != nil {
		return Genesis{}, "", false, fmt.Errorf("read genesis of stream %s: %w", stream, err)
	}
	if rows > 1 {
		return Genesis{}, "", false, fmt.Errorf("read genesis of stream %s: %d rows, want one: %w", stream, rows, audit.ErrNeedsHuman)
	}
	return g, settings, rows == 1, nil
}

func (c *genesisColumns) row() Genesis {
	return Genesis{
		Stream: c.stream.Row(0), SystemID: c.systemID.Row(0), Timeline: c.timeline[0], Database: c.database.Row(0),
		Slot: c.slot.Row(0), Publication: c.publication.Row(0), LogPublicKey: []byte(c.key.Row(0)),
		Random: c.random[0], CreatedAt: int64(c.createdAt.Data[0]),
	}
}
