package verify

import (
	"context"
	"strings"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// Closed implements vault. To a user without the role pgwitness_vault openings
// is an empty table; what the server says of its size tells that from a vault
// that somebody emptied.
func (c *ClickHouse) Closed(ctx context.Context) (reason string, err error) {
	var seen, keys, stored proto.ColUInt64
	q := ch.Query{
		Body: `SELECT assumeNotNull((SELECT count() FROM openings)) AS seen, assumeNotNull((SELECT count() FROM subjects)) AS subjects,
		              assumeNotNull((SELECT sum(ifNull(total_rows, 0)) FROM system.tables WHERE database = currentDatabase() AND name = 'openings')) AS stored`,
		Result: proto.Results{{Name: "seen", Data: &seen}, {Name: "subjects", Data: &keys}, {Name: "stored", Data: &stored}},
	}
	err = c.query(ctx, q, func() error {
		if seen[0] == 0 && stored[0] > 0 {
			reason = "the user of clickhouse.vault_dsn may not read the vault: grant him the role pgwitness_vault"
		}
		return nil
	})
	switch store.Code(err) {
	case store.CodeAccessDenied:
		return "the user of clickhouse.vault_dsn may not read the vault", nil
	case store.CodeUnknownTable:
		return "the vault is missing from the schema: pgwitness setup", nil
	}
	return reason, err
}

// Open implements vault.
func (c *ClickHouse) Open(ctx context.Context, stream string, tokens []audit.Hash, use func(Opening, audit.SubjectKey, bool)) error {
	return c.with(ctx, func(client *ch.Client) error {
		found, subjects, err := readOpenings(ctx, client, stream, tokens)
		if err != nil || len(found) == 0 {
			return err
		}
		keys, err := readKeys(ctx, client, stream, subjects)
		if err != nil {
			return err
		}
		for i := range found {
			key, ok := keys[subjects[i]]
			use(found[i], key, ok)
		}
		return nil
	})
}

// readOpenings returns the openings of tokens, and whose each is.
func readOpenings(ctx context.Context, client *ch.Client, stream string, tokens []audit.Hash) (found []Opening, subjects []string, err error) {
	quoted := make([]string, len(tokens))
	for i, t := range tokens {
		quoted[i] = "'" + t.String() + "'"
	}
	var token proto.ColFixedStr32
	var class, value, subject proto.ColStr
	q := ch.Query{
		Body: `SELECT DISTINCT token, CAST(class, 'String') AS class_text, value, subject FROM openings
		        WHERE stream = {stream:String} AND token IN (SELECT toFixedString(unhex(arrayJoin({tokens:Array(String)})), 32))`,
		Parameters: []proto.Parameter{store.Param("stream", stream), store.Param("tokens", "["+strings.Join(quoted, ",")+"]")},
		Result: proto.Results{{Name: "token", Data: &token}, {Name: "class_text", Data: &class},
			{Name: "value", Data: &value}, {Name: "subject", Data: &subject}},
	}
	err = store.Receive(ctx, client, q, func() error {
		for i := range token {
			found = append(found, Opening{token[i], class.Row(i), []byte(value.Row(i))})
			subjects = append(subjects, subject.Row(i))
		}
		return nil
	})
	return found, subjects, err
}

// readKeys returns the keys of subjects. Of a subject that has two, one is taken:
// the tokens of the other then do not open.
func readKeys(ctx context.Context, client *ch.Client, stream string, subjects []string) (map[string]audit.SubjectKey, error) {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	asked := make(map[string]bool)
	var quoted []string
	for _, s := range subjects {
		if !asked[s] {
			asked[s] = true
			quoted = append(quoted, "'"+escape.Replace(s)+"'")
		}
	}
	keys := make(map[string]audit.SubjectKey)
	var name proto.ColStr
	var key proto.ColFixedStr32
	q := ch.Query{
		Body:       `SELECT DISTINCT subject, subject_key FROM subjects WHERE stream = {stream:String} AND subject IN {subjects:Array(String)}`,
		Parameters: []proto.Parameter{store.Param("stream", stream), store.Param("subjects", "["+strings.Join(quoted, ",")+"]")},
		Result:     proto.Results{{Name: "subject", Data: &name}, {Name: "subject_key", Data: &key}},
	}
	err := store.Receive(ctx, client, q, func() error {
		for i := range key {
			keys[name.Row(i)] = key[i]
		}
		return nil
	})
	return keys, err
}
