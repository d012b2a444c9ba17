package chain

import (
	"crypto/sha256"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

// GenesisTag is the first netstring of a genesis: format and version.
const GenesisTag = "pgwitness/genesis/v1"

// Genesis is what the first entry of a chain is linked to: the stream and the
// database it was opened for. It is stored once and never changes.
type Genesis struct {
	Stream       string
	SystemID     string // system identifier of the PostgreSQL cluster, decimal
	Timeline     uint32
	Database     string
	Slot         string
	Publication  string
	LogPublicKey []byte   // Ed25519 public key, 32 bytes, that checkpoints are signed with
	Random       [32]byte // so that no two chains start alike
	CreatedAt    int64    // microseconds since 1970, UTC
}

// AppendPreimage appends the bytes that the genesis hash is taken over.
func (g *Genesis) AppendPreimage(dst []byte) []byte {
	dst = audit.AppendNetstring(dst, GenesisTag)
	dst = audit.AppendNetstring(dst, g.Stream)
	dst = audit.AppendNetstring(dst, g.SystemID)
	dst = audit.AppendNetstring(dst, strconv.FormatUint(uint64(g.Timeline), 10))
	dst = audit.AppendNetstring(dst, g.Database)
	dst = audit.AppendNetstring(dst, g.Slot)
	dst = audit.AppendNetstring(dst, g.Publication)
	dst = audit.AppendNetstring(dst, g.LogPublicKey)
	dst = audit.AppendNetstring(dst, g.Random[:])
	return audit.AppendNetstring(dst, strconv.FormatInt(g.CreatedAt, 10))
}

// Hash is the prev_hash of sequence 0.
func (g *Genesis) Hash() audit.Hash { return sha256.Sum256(g.AppendPreimage(nil)) }

// Head is the head of the still empty chain.
func (g *Genesis) Head() audit.Head { return audit.Head{Hash: g.Hash()} }
