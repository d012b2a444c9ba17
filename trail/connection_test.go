package trail

import (
	"testing"
	"time"
)

// The questions of one verb share a connection; one that is not read to its end,
// or meets another, leaves none behind.
func TestConnectionsWaitForTheNextQuestion(t *testing.T) {
	b := newBook(t)
	b.write(shopify(at("insert", "create", "", `{"id":1}`)), shopify(at("update", "update", `{"id":1}`, `{"id":1,"total":2}`)))
	read := func(limit int) {
		t.Helper()
		for _, err := range b.Entries(t.Context(), Filter{Stream: "shop"}) {
			if err != nil {
				t.Fatal(err)
			}
			if limit--; limit == 0 {
				break
			}
		}
	}
	waits := func() any {
		b.connections.mu.Lock()
		defer b.connections.mu.Unlock()
		if b.connections.idle == nil {
			return nil
		}
		return b.connections.idle
	}
	read(-1)
	first := waits()
	if _, err := b.More(t.Context(), Filter{Stream: "shop"}); err != nil || first == nil || waits() != first {
		t.Errorf("after two questions %v waits, after one %v; %v", waits(), first, err)
	}
	read(1)
	if got := waits(); got != nil {
		t.Errorf("%v waits though its answer was not read to the end", got)
	}
	for _, err := range b.Entries(t.Context(), Filter{Stream: "shop"}) {
		if err != nil {
			t.Fatal(err)
		}
		read(-1) // on a connection of its own
	}
	client := b.connections.idle
	for deadline := time.Now().Add(10 * keptOpen); waits() != nil; time.Sleep(keptOpen / 20) {
		if time.Now().After(deadline) {
			t.Fatal("a connection waits for ever")
		}
	}
	if !client.IsClosed() {
		t.Error("a connection that nobody waits for is open")
	}
}
