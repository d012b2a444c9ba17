package baseline

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/pgwitness/pgwitness/audit"
)

// A mark is a logical message as docs/stamps.md describes them: two bytes of
// kind and version, 16 bytes of HMAC-SHA256, a JSON payload.
const (
	kind    = "B1"
	macSize = 16
)

// seal makes the content of a mark, as the literal of a bytea.
func seal(key [32]byte, payload []byte) string {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(kind))
	mac.Write(payload)
	content := append([]byte(kind), mac.Sum(nil)[:macSize]...)
	return `'\x` + hex.EncodeToString(append(content, payload...)) + `'::pg_catalog.bytea`
}

// emit is the statement that writes a mark.
func emit(key [32]byte, transactional bool, payload []byte) string {
	return "SELECT pg_catalog.pg_logical_emit_message(" + strconv.FormatBool(transactional) + ", 'pgwitness', " + seal(key, payload) + ")"
}

// low writes the low mark of a chunk. It is no part of a transaction, and so is
// in the log at once.
func (c *session) low(ctx context.Context, key [32]byte, id audit.ChunkID) error {
	_, err := c.ask(ctx, "write low mark", emit(key, false, []byte(fmt.Sprintf(`{"b":"low","id":%q}`, id))))
	return err
}

// high writes the high mark, in a transaction of its own: so its entries have
// the time of a commit, and the server flushes the log up to it at once.
func (c *session) high(ctx context.Context, key [32]byte, id audit.ChunkID) error {
	_, err := c.ask(ctx, "write high mark", emit(key, true, []byte(fmt.Sprintf(`{"b":"high","id":%q}`, id))))
	return err
}

// note is something that becomes an entry by itself.
type note struct {
	Mark    string `json:"b"`
	XID     uint64 `json:"x"`
	Action  string `json:"action"`
	Schema  string `json:"schema"`
	Table   string `json:"table"`
	Details any    `json:"details"`
}

// write writes n, bound to its transaction.
func (c *session) write(ctx context.Context, key [32]byte, n note) (err error) {
	what := "write note " + n.Action
	defer func() {
		if err != nil {
			// What failed ends the transaction or the connection.
			_, _ = c.ask(context.WithoutCancel(ctx), "give up", "ROLLBACK")
		}
	}()
	rows, err := c.ask(ctx, what, "BEGIN; SELECT pg_catalog.pg_current_xact_id()")
	if err != nil {
		return err
	}
	n.Mark = "note"
	if n.XID, err = strconv.ParseUint(rows.value("pg_current_xact_id"), 10, 64); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	payload, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = c.ask(ctx, what, emit(key, true, payload)+"; COMMIT")
	return err
}
