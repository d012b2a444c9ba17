package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

const (
	// askedAtOnce is how many subjects one query looks for.
	askedAtOnce = 1000
	// storedAtOnce is how many rows one insert holds.
	storedAtOnce = 20_000
	// statementTimeout limits one statement. An insert that it ends may be
	// stored all the same; it is repeated with the same rows.
	statementTimeout = 20 * time.Second
)

// errNoAnswer is that a query ended without the row that it always has. A
// server that shuts down does that; taken for "there is no key", it would give
// a subject a second one.
var errNoAnswer = errors.New("the server ended the query without an answer")

// connection is one connection to ClickHouse, opened when it is needed and
// thrown away after any error.
type connection struct {
	server store.Server
	client *ch.Client
}

func (c *connection) do(ctx context.Context, q ch.Query) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if c.client == nil {
		client, err := c.server.Dial(ctx)
		if err != nil {
			return err
		}
		c.client = client
	}
	if err := store.Do(ctx, c.client, q); err != nil {
		return errors.Join(c.server.Explain(err), c.close())
	}
	return nil
}

func (c *connection) close() error {
	if c.client == nil {
		return nil
	}
	err := c.client.Close()
	c.client = nil
	if errors.Is(err, ch.ErrClosed) {
		return nil
	}
	return err
}

// lookUp puts the keys of subjects that ClickHouse has into found.
func (v *Vault) lookUp(ctx context.Context, subjects []string, found map[string]audit.SubjectKey) error {
	for len(subjects) > 0 {
		n := min(len(subjects), askedAtOnce)
		if err := v.lookUpSome(ctx, subjects[:n], found); err != nil {
			return err
		}
		subjects = subjects[n:]
	}
	return nil
}

func (v *Vault) lookUpSome(ctx context.Context, subjects []string, found map[string]audit.SubjectKey) error {
	names, keys := new(proto.ColStr).Array(), new(proto.ColFixedStr32).Array()
	err := v.client.do(ctx, ch.Query{
		Body: `SELECT groupArray(subject) AS names, groupArray(subject_key) AS keys
		         FROM (SELECT DISTINCT subject, subject_key FROM subjects
		                WHERE stream = {stream:String} AND subject IN {subjects:Array(String)})`,
		Parameters: []proto.Parameter{store.Param("stream", v.stream), store.Param("subjects", arrayText(subjects))},
		Result:     proto.Results{{Name: "names", Data: names}, {Name: "keys", Data: keys}},
	})
	if err == nil && names.Rows() != 1 {
		err = errNoAnswer
	}
	if err != nil {
		return err
	}
	return takeKeys(names.Row(0), keys.Row(0), found)
}

// takeKeys refuses a subject that has two keys: which of them made a token is
// not for us to guess.
func takeKeys(names []string, keys [][32]byte, found map[string]audit.SubjectKey) error {
	for i, name := range names {
		if known, ok := found[name]; ok && known != keys[i] {
			return audit.WithHint(fmt.Errorf("a data subject has two keys in the vault: %w", audit.ErrNeedsHuman),
				"SELECT stream, subject FROM subjects GROUP BY ALL HAVING uniq(subject_key) > 1; somebody else wrote there")
		}
		found[name] = keys[i]
	}
	return nil
}

// arrayText writes an Array(String) as ClickHouse reads it.
func arrayText(items []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = "'" + quote.Replace(item) + "'"
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// load takes all keys into memory, if they fit; whole says that they did.
func (v *Vault) load(ctx context.Context) (whole bool, err error) {
	var count proto.ColUInt64
	err = v.client.do(ctx, ch.Query{
		Body:       `SELECT uniqExact(subject) AS count FROM subjects WHERE stream = {stream:String}`,
		Parameters: []proto.Parameter{store.Param("stream", v.stream)},
		Result:     proto.Results{{Name: "count", Data: &count}},
	})
	if err == nil && len(count) != 1 {
		err = errNoAnswer
	}
	if err != nil {
		return false, err
	}
	if count[0] > uint64(v.keys.limit) {
		v.log.Warn().Uint64("subjects", count[0]).Int("limit", v.keys.limit).
			Str("hint", "raise vault.subjects above their number").
			Msg("not all subject keys fit into memory: without clickhouse new data subjects will have to wait for it")
		return false, nil
	}
	all := make(map[string]audit.SubjectKey, count[0])
	var names proto.ColStr
	var keys proto.ColFixedStr32
	err = v.client.do(ctx, ch.Query{
		Body:       `SELECT subject, subject_key FROM subjects WHERE stream = {stream:String}`,
		Parameters: []proto.Parameter{store.Param("stream", v.stream)},
		Result:     proto.Results{{Name: "subject", Data: &names}, {Name: "subject_key", Data: &keys}},
		OnResult: func(context.Context, proto.Block) error {
			for i := range keys {
				if err := takeKeys([]string{names.Row(i)}, [][32]byte{keys[i]}, all); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err == nil && uint64(len(all)) != count[0] {
		err = errNoAnswer
	}
	if err != nil {
		return false, err
	}
	for name, key := range all {
		v.keys.put(name, key)
	}
	return true, nil
}

// store inserts keys and openings, keys first, and returns when they are stored.
// Rows that are there already do no harm.
func (v *Vault) store(ctx context.Context, keys []made, openings []Opening) error {
	for len(keys) > 0 {
		n := min(len(keys), storedAtOnce)
		if err := v.insertKeys(ctx, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	for len(openings) > 0 {
		n := min(len(openings), storedAtOnce)
		if err := v.insertOpenings(ctx, openings[:n]); err != nil {
			return err
		}
		openings = openings[n:]
	}
	return nil
}

func (v *Vault) insertKeys(ctx context.Context, keys []made) error {
	var stream, subject proto.ColStr
	var key proto.ColFixedStr32
	for i := range keys {
		stream.Append(v.stream)
		subject.Append(keys[i].subject)
		key.Append(keys[i].key)
	}
	return v.insert(ctx, "subjects", proto.Input{
		{Name: "stream", Data: &stream}, {Name: "subject", Data: &subject}, {Name: "subject_key", Data: &key},
	})
}

func (v *Vault) insertOpenings(ctx context.Context, openings []Opening) error {
	var stream, class, value, subject proto.ColStr
	var token proto.ColFixedStr32
	for i := range openings {
		o := &openings[i]
		stream.Append(v.stream)
		token.Append(o.Token)
		class.Append(o.Class)
		value.Append(o.Value)
		subject.Append(o.Subject)
	}
	return v.insert(ctx, "openings", proto.Input{
		{Name: "stream", Data: &stream}, {Name: "token", Data: &token}, {Name: "class", Data: &class},
		{Name: "value", Data: &value}, {Name: "subject", Data: &subject},
	})
}

func (v *Vault) insert(ctx context.Context, table string, rows proto.Input) error {
	var id [8]byte
	_, _ = rand.Read(id[:]) // it never fails: the program would end
	return v.client.do(ctx, ch.Query{
		Body: rows.Into(table), Input: rows, QueryID: v.prefix() + hex.EncodeToString(id[:]),
		Settings: []ch.Setting{{Key: "async_insert", Value: "0", Important: true}},
	})
}

// prefix begins the query ids of our inserts, by which the next process finds
// those that are still running. It begins as the sink's do, so that they are
// fenced together.
func (v *Vault) prefix() string { return "pgwitness/" + v.stream + "/vault/" }

// fence returns when no insert of an earlier process is running: one that was
// stored behind our look could give a subject a second key.
func (v *Vault) fence(ctx context.Context) error {
	for begun, killed := time.Now(), false; ; {
		var running proto.ColUInt64
		err := v.client.do(ctx, ch.Query{
			Body:       `SELECT count() AS n FROM system.processes WHERE startsWith(query_id, {prefix:String})`,
			Parameters: []proto.Parameter{store.Param("prefix", v.prefix())},
			Result:     proto.Results{{Name: "n", Data: &running}},
		})
		if err == nil && len(running) != 1 {
			err = errNoAnswer
		}
		if err != nil {
			return fmt.Errorf("fence inserts in flight: %w", err)
		}
		if running[0] == 0 {
			return nil
		}
		if !killed && time.Since(begun) > fenceWait {
			v.log.Warn().Uint64("inserts", running[0]).Msg("killing inserts in flight")
			if err := v.kill(ctx); err != nil {
				return fmt.Errorf("kill inserts in flight: %w", err)
			}
			killed = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (v *Vault) kill(ctx context.Context) error {
	return v.client.do(ctx, ch.Query{
		Body:       `KILL QUERY WHERE startsWith(query_id, {prefix:String}) ASYNC`,
		Parameters: []proto.Parameter{store.Param("prefix", v.prefix())},
		Result:     (&proto.Results{}).Auto(),
		OnResult:   func(context.Context, proto.Block) error { return nil },
	})
}
