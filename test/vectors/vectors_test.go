// Package vectors checks the published test vectors of the chain format
// (chain/testdata/vectors) against every implementation that ships: the Go
// packages, the SQL files for ClickHouse and PostgreSQL on the real servers,
// and docs/verify.py. Each works from the archives alone, so the vectors are
// what they agree on. It never ships.
package vectors

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/tools/txtar"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/verify"
)

const (
	top    = "../.."
	folder = top + "/chain/testdata/vectors"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the archives anew")
	harness.Main(m)
}

// The archives are those that the generator makes: neither was edited alone.
func TestVectorsAreGenerated(t *testing.T) {
	archives := generate(t)
	if flag.Lookup("update").Value.String() == "true" {
		for name, a := range archives {
			if err := os.WriteFile(filepath.Join(folder, name), txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range archives {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(txtar.Format(want)), string(got)); diff != "" {
			t.Errorf("%s differs from what the generator makes (go test ./test/vectors -update writes it):\n%s", name, diff)
		}
	}
	if n := len(paths(t)); n != len(archives) {
		t.Errorf("%d archives, want %d: one is not made by the generator", n, len(archives))
	}
}

// Sealing, the preimage byte by byte, both hashes, the tree, and the verifier.
func TestVectorsGo(t *testing.T) {
	v := read(t)
	if got := v.genesis.AppendPreimage(nil); string(got) != unescape(t, v.genesisReadable) || string(got) != unhex(t, v.genesisPreimage) {
		t.Errorf("preimage of the genesis is %q", got)
	}
	if got := v.genesis.Hash().String(); got != v.genesisHash {
		t.Errorf("genesis hash is %s, want %s", got, v.genesisHash)
	}
	head := v.genesis.Head()
	var tree chain.Tree
	var hashes []audit.Hash
	for i, want := range v.entries {
		t.Run(want.name, func(t *testing.T) {
			checkRoot(t, v, tree.Root(), chain.Root(hashes), i)
			sealed := []audit.Entry{unsealed(want.entry)}
			head = chain.New(v.secret, 1).Seal(head, sealed)
			if diff := cmp.Diff(want.entry, sealed[0]); diff != "" {
				t.Errorf("sealed entry differs (-want +got):\n%s", diff)
			}
			e := &want.entry
			if e.ID != audit.EntryID(e.Stream, e.Timestamp, e.Position()) {
				t.Errorf("id %s is not that of the position", e.ID)
			}
			preimage := string(audit.AppendPreimage(nil, e))
			if preimage != unhex(t, want.preimage) || preimage != unescape(t, want.readable) {
				t.Errorf("preimage is %q", preimage)
			}
			if got := chain.Content(e).String(); got != want.content {
				t.Errorf("content hash is %s, want %s", got, want.content)
			}
			if e.PrevHash.String() != want.prev || e.Hash.String() != want.hash {
				t.Errorf("hashes are %s and %s, want %s and %s", e.PrevHash, e.Hash, want.prev, want.hash)
			}
			tree.Add(e.Hash)
			hashes = append(hashes, e.Hash)
		})
	}
	checkRoot(t, v, tree.Root(), chain.Root(hashes), len(hashes))

	report, err := verify.New(v, zerolog.Nop()).Run(context.Background(), verify.Options{Stream: v.genesis.Stream}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Holds() || report.Checked != uint64(len(v.entries)) || report.Head != head.Hash.String() {
		t.Errorf("the verifier says %+v", report)
	}
}

func checkRoot(t *testing.T, v *vectors, incremental, recursive audit.Hash, size int) {
	t.Helper()
	if incremental.String() != v.roots[size] || recursive != incremental {
		t.Errorf("root of size %d is %s and %s, want %s", size, incremental, recursive, v.roots[size])
	}
}

func TestVectorsPython(t *testing.T) {
	v := read(t)
	out, err := exec.Command("python3", append([]string{top + "/docs/verify.py"}, paths(t)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("verify.py: %v\n%s", err, out)
	}
	n := len(v.entries)
	want := "size " + strconv.Itoa(n) + "\nhead " + v.entries[n-1].hash + "\nroot " + v.roots[n] + "\nwrong 0\n"
	if string(out) != want {
		t.Errorf("verify.py says\n%swant\n%s", out, want)
	}
}

// The script finds what was altered, and says where: a check that passes
// everything would pass the vectors, too.
func TestVectorsPythonFindsAlteredEntry(t *testing.T) {
	name := filepath.Join(t.TempDir(), "trail.jsonl")
	lines := read(t).lines()
	lines[3] = strings.Replace(lines[3], `"actor_id":`, `"actor_id":"someone else","was":`, 1)
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", top+"/docs/verify.py", name).Output()
	if err == nil || !strings.HasPrefix(string(out), "entry 2: entry_hash is ") {
		t.Errorf("verify.py says %v and\n%s", err, out)
	}
}
