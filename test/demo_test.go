package test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/test/harness"
)

// The demo answers the CFO's question by one command, and each line of the
// answer says who, in which role, when, where, and why or that no reason was
// given. Then it shows that an entry that somebody altered is found.
func TestDemoAnswersTheCFO(t *testing.T) {
	t.Parallel()
	parts := harness.Parts(t)
	c := exec.Command(harness.Binary(t), "demo", "--duration", "1s", "--rate", "20", "--engines", parts.Dir)
	c.Env = append(os.Environ(), harness.RaceOptions)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("pgwitness demo: %v\n%s", err, out)
	}
	_, answer, found := strings.Cut(string(out), "$ pgwitness trail order ")
	answer, _, closed := strings.Cut(answer, "\n\nWho was refused")
	if !found || !closed {
		t.Fatalf("the demo does not tell the story of an order:\n%s", out)
	}
	line := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC  (\S+) \((?:.*, )?([a-z_]+)\) ([a-z]+) order \d+: .*[,.] from ([0-9a-f.:]+) via (\S+?)(, no reason given\.|\. Reason: .+)$`)
	var told [][]string
	for _, l := range line.FindAllStringSubmatch(answer, -1) {
		reason := "none"
		if strings.HasPrefix(l[6], ". Reason: damaged_in_transit") {
			reason = "damaged_in_transit"
		}
		told = append(told, []string{l[1], l[2], l[3], l[5], reason})
	}
	want := [][]string{
		{"system:storefront", "visitor", "created", "storefront", "none"},
		{"system:storefront", "visitor", "paid", "storefront", "none"},
		{"tomas.berg@shop.example", "operations_manager", "approved", "admin-panel", "none"},
		{"api:shopify-connector", "integration", "changed", "shopify", "none"},
		{"api:rotterdam-logistics", "integration", "shipped", "partner-api", "none"},
		{"bob", "dba", "adjusted", "psql", "none"},
		{"samuel.okafor@shop.example", "finance", "refunded", "admin-panel", "damaged_in_transit"},
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("who, role, what, where, why (-want +got):\n%s\n%s", diff, answer)
	}
	for _, text := range []string{"integrity     HOLDS", "integrity     FAILS", "It cannot be hidden."} {
		if !strings.Contains(string(out), text) {
			t.Errorf("the demo does not say %q", text)
		}
	}
}
