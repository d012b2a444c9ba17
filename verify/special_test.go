package verify

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

// tokenPlaces puts a token wherever one can stand.
func tokenPlaces() map[string]func(e *audit.Entry, token string) {
	return map[string]func(e *audit.Entry, token string){
		"old values": func(e *audit.Entry, token string) { e.OldValues = audit.T(`{"email":"` + token + `"}`) },
		"new values": func(e *audit.Entry, token string) {
			e.NewValues = audit.T(`{"id":1,"note":"` + string(slices.Repeat([]byte("0f"), 90)) + `","email":"` + token + `"}`)
		},
		"attribution": func(e *audit.Entry, token string) {
			e.Attribution = audit.T(`{"actor_id":"session","observed":{"host":"` + token + `"}}`)
		},
		"actor_email": func(e *audit.Entry, token string) {
			e.ActorEmail, e.Attribution = audit.T(token), audit.T(`{"personal":["actor_email"]}`)
		},
		"ip_address": func(e *audit.Entry, token string) {
			e.IPAddress, e.Attribution = audit.T(token), audit.T(`{"personal":["ip_address"]}`)
		},
		"user_agent": func(e *audit.Entry, token string) {
			e.UserAgent, e.Attribution = audit.T(token), audit.T(`{"personal":["user_agent"]}`)
		},
		"resource_id": func(e *audit.Entry, token string) {
			e.ResourceID, e.Attribution = audit.T("1/"+token+"/"+token), audit.T(`{"personal_resource_id":true}`)
		},
	}
}

// The entries that are looked at whole are all that hold tokens: as many are
// found as when every entry is.
func TestEveryTokenIsSeen(t *testing.T) {
	for place, put := range tokenPlaces() {
		entries := makeTrail(100)
		want := openings{}
		for i := range entries {
			if i%7 == 3 {
				put(&entries[i], string(audit.AppendToken(nil, audit.Hash{byte(i), 0xab})))
			}
			if err := want.take(&entries[i]); err != nil {
				t.Fatal(err)
			}
		}
		g := testGenesis()
		reseal(entries, genesisHash(&g))
		w := &walker{segment: segment{to: 99}}
		for _, block := range blocksOf(entries, 30) {
			if err := w.take(block); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.openings.tokens; got != want.tokens || got < 14 {
			t.Errorf("%s: %d tokens, want %d", place, got, want.tokens)
		}
	}
}

// An entry without tokens and gaps is taken for what it is: else every one would
// be taken apart.
func TestOrdinaryEntriesAreNotSpecial(t *testing.T) {
	entries := makeTrail(50)
	for i := range entries {
		entries[i].NewValues = audit.T(fmt.Sprintf(`{"id":%d,"digest":"%s"}`, i, entries[i].Hash))
	}
	var s special
	for _, block := range blocksOf(entries, 50) {
		s.find(block)
		for i := range block.Rows() {
			if s.tokensAt(i) || s.gapAt(i) {
				t.Errorf("entry %d is special", i)
			}
		}
	}
}
