package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/test/harness"
)

// tpsGoal is the least share of the transactions a second of pgbench that are
// left while the sidecar runs.
const tpsGoal = 0.95

const (
	tpsMetric     = "transactions/s"
	aloneMetric   = "without what others took"
	backendMetric = "backend CPU us a transaction"

	// bankClients is how many connections run transactions, one behind the other.
	bankClients = 4
	// bankTitle is followed by PostgreSQL's fsync. The goal is for "on", its default;
	// "off" shows what a commit costs where no disk is waited for.
	bankTitle = "pgbench, TPC-B, set up for pgwitness, fsync "

	without = "nobody reads the log"
	beside  = "the sidecar runs, its walsender on its processor"
	among   = "the sidecar runs, its walsender among the backends"
	another = "pg_recvlogical to /dev/null instead, as the sidecar's"

	// peerSlot is pg_recvlogical's: the sidecar's own is not to be moved by anybody else.
	peerSlot = "bank_peer"
)

// bankCPU has PostgreSQL and the clients, ourCPU what the sidecar brings with it:
// also while it does not run, so that what is compared is the same.
const bankCPU, ourCPU = "0", "1"

var tpsLine = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// fillBank makes pgbench's tables, all of them with a key.
func (l *latency) fillBank() {
	l.t.Helper()
	l.pg.Exec(`
		CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 50);
		CREATE TABLE pgbench_tellers  (tid int PRIMARY KEY, bid int, tbalance int, filler char(84)) WITH (fillfactor = 50);
		CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
		CREATE TABLE pgbench_history  (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
		INSERT INTO pgbench_branches SELECT i, 0, '' FROM generate_series(1, 10) i;
		INSERT INTO pgbench_tellers  SELECT i, 1, 0, '' FROM generate_series(1, 100) i;
		INSERT INTO pgbench_accounts SELECT i, 1, 0, '' FROM generate_series(1, 1000000) i;`)
}

// bank runs pgbench in turn with and without the sidecar. Where there is no
// pgbench, transactions like its own are run.
func (l *latency) bank(runs, seconds int, full bool) {
	l.t.Helper()
	if !full {
		l.bankOf("off", []string{without, beside}, runs, seconds, full)
		return
	}
	l.pin(os.Getpid(), ourCPU) // with its children; then those
	l.pin(l.pg.Server.PID(), bankCPU)
	l.pin(l.ch.Server.PID(), ourCPU)
	l.sidecar.cpus = ourCPU
	variants := []string{without, beside}
	if _, err := exec.LookPath(receiver); err == nil {
		variants = append(variants, another)
	}
	l.bankOf("off", variants, runs, seconds, full)
	l.bankOf("on", append(variants, among), runs, seconds, full)
}

// bankOf runs pgbench for each variant in turn, with fsync on or off.
func (l *latency) bankOf(fsync string, variants []string, runs, seconds int, full bool) {
	l.t.Helper()
	for _, q := range []string{"ALTER SYSTEM SET fsync = " + fsync, "SELECT pg_reload_conf()", "CHECKPOINT"} {
		l.pg.Exec(q)
	}
	title := bankTitle + fsync
	l.blocks = append(l.blocks, Block{Workload: title, Variants: variants, Metrics: []string{tpsMetric, aloneMetric, backendMetric}})
	Interleave(runs, variants, func(variant string) {
		walsender, stop := l.read(variant)
		defer stop()
		if full && walsender != 0 && variant != among {
			l.pin(walsender, ourCPU)
		}
		l.bankSlice(title, variant, seconds, full, walsender)
	})
	for _, variant := range variants[1:] {
		ratio := func(metric string) float64 {
			return l.report.Median(title, variant, metric) / max(1, l.report.Median(title, without, metric))
		}
		goal := ""
		if fsync == "on" && variant == beside {
			goal = fmt.Sprintf(" (goal: %.2fx)", tpsGoal)
		}
		l.find("fsync %s, %s: %.2fx of the transactions a second%s, %.2fx without what other processes took", fsync, variant, ratio(tpsMetric), goal, ratio(aloneMetric))
	}
}

// read has the log read as the variant says, by a walsender with the pid, until stop.
func (l *latency) read(variant string) (walsender int, stop func()) {
	l.t.Helper()
	switch variant {
	case without:
		return 0, func() {}
	case another:
		return l.receive()
	}
	l.sidecar.start(l.sidecar.defaults())
	l.sidecar.sync() // with what came while it was away
	return l.walsender(benched), l.sidecar.stop
}

// receive has pg_recvlogical read what is written from now on.
func (l *latency) receive() (walsender int, stop func()) {
	l.t.Helper()
	l.pg.Exec("SELECT pg_create_logical_replication_slot('" + peerSlot + "', 'pgoutput')")
	args := append([]string{"--cpu-list", ourCPU, receiver}, receiving(l.pg.DSN(), peerSlot)...)
	cmd := exec.CommandContext(l.t.Context(), "taskset", args...)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return l.walsender(peerSlot), func() {
		l.t.Helper()
		if err := cmd.Process.Kill(); err != nil {
			l.t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState == nil {
			l.t.Fatal(err)
		}
		l.sidecar.poll("the slot of pg_recvlogical is in use", func() bool {
			return l.pg.Value("SELECT active FROM pg_replication_slots WHERE slot_name = $1", peerSlot) == "f"
		})
		l.pg.Exec("SELECT pg_drop_replication_slot('" + peerSlot + "')")
	}
}

// bankSlice runs transactions for a while. On a machine that others use as well,
// who comes to the second processor drives them to the first, so what PostgreSQL
// and its clients had of theirs is measured, too.
func (l *latency) bankSlice(title, variant string, seconds int, full bool, walsender int) {
	l.t.Helper()
	backends, server, idle := l.backendTime(walsender), l.backendTime(0), l.idleTime(full)
	tps, clients := l.transactions(seconds, full)
	n := tps * float64(seconds)
	backends = l.backendTime(walsender) - backends
	l.report.Add(title, variant, tpsMetric, tps)
	l.report.Add(title, variant, backendMetric, micro(backends)/n)
	if full {
		had := backends + clients + l.idleTime(full) - idle
		if variant == among {
			had += l.backendTime(0) - server - backends // the walsender
		}
		l.report.Add(title, variant, aloneMetric, n/had.Seconds())
	}
}

// transactions runs them, and returns how many a second there were and the
// processor time of the clients.
func (l *latency) transactions(seconds int, full bool) (tps float64, clients time.Duration) {
	l.t.Helper()
	program := harness.Pgbench()
	if program == "" {
		return l.ownBank(time.Duration(seconds) * time.Second)
	}
	args := []string{program, "-n", "-M", "prepared", "-c", strconv.Itoa(bankClients), "-j", "1", "-T", strconv.Itoa(seconds), "-s", "10", l.pg.DSN()}
	if full {
		args = append([]string{"taskset", "--cpu-list", bankCPU}, args...)
	}
	return l.pgbench(args)
}

// idleTime is for how long nobody has used the processor of PostgreSQL so far,
// and interrupts have, which belong to its connections.
func (l *latency) idleTime(full bool) time.Duration {
	l.t.Helper()
	if !full {
		return 0
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		l.t.Fatal(err)
	}
	var user, nice, system, idle, iowait, irq, softirq int64
	_, rest, _ := strings.Cut(string(text), "\ncpu"+bankCPU+" ")
	if _, err := fmt.Sscan(rest, &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		l.t.Fatal(err)
	}
	return time.Duration(idle+iowait+irq+softirq) * tick
}

func (l *latency) pgbench(args []string) (tps float64, clients time.Duration) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), args[0], args[1:]...)
	said, err := cmd.CombinedOutput()
	found := tpsLine.FindSubmatch(said)
	if err != nil || found == nil {
		l.t.Fatalf("%v: %v\n%s", args, err, said)
	}
	if tps, err = strconv.ParseFloat(string(found[1]), 64); err != nil {
		l.t.Fatal(err)
	}
	return tps, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// ownBank is pgbench of this program.
func (l *latency) ownBank(d time.Duration) (tps float64, clients time.Duration) {
	l.t.Helper()
	spent, err := OwnTime(os.Getpid())
	if err != nil {
		l.t.Fatal(err)
	}
	const some = 20
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute+d)
	defer cancel()
	var done atomic.Int64
	began := time.Now()
	var g errgroup.Group
	for range bankClients {
		conn := l.pg.Connect()
		g.Go(func() error {
			for time.Since(began) < d {
				if err := bankTransactions(ctx, conn, some); err != nil {
					return err
				}
				done.Add(some)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		l.t.Fatal(err)
	}
	now, err := OwnTime(os.Getpid())
	if err != nil {
		l.t.Fatal(err)
	}
	return float64(done.Load()) / time.Since(began).Seconds(), now - spent
}

// pin keeps a process with its threads, and its children, on a processor. Those
// that it will have inherit that.
func (l *latency) pin(pid int, cpus string) {
	l.t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		l.t.Fatal(err)
	}
	pids := []string{strconv.Itoa(pid)}
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil { // else the thread has ended
			pids = append(pids, strings.Fields(string(text))...)
		}
	}
	for _, p := range pids {
		said, err := exec.Command("taskset", "--all-tasks", "--cpu-list", "--pid", cpus, p).CombinedOutput()
		if _, gone := os.Stat("/proc/" + p); err != nil && gone == nil {
			l.t.Fatalf("taskset: %v\n%s", err, said)
		}
	}
}

// walsender is the process that a slot is streamed from.
func (l *latency) walsender(slot string) (pid int) {
	l.t.Helper()
	l.sidecar.poll("there is no walsender", func() bool {
		text := l.pg.Value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IN (SELECT pid FROM pg_stat_replication)", slot)
		pid, _ = strconv.Atoi(text) // none: ""
		return pid != 0
	})
	return pid
}

// backendTime is the processor time of PostgreSQL without the walsender, which is
// not what a client waits for.
func (l *latency) backendTime(walsender int) time.Duration {
	l.t.Helper()
	all, err := FamilyTime(l.pg.Server.PID())
	if err == nil && walsender != 0 {
		var own time.Duration
		own, err = OwnTime(walsender)
		all -= own
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}
