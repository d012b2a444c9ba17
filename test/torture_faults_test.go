package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/network"
)

// fault is one kind of trouble. It begins, lasts, and is mended before it
// returns. Two faults of one round never have the same victim.
type fault struct {
	name   string
	victim string
	also   string // another victim
	do     func(b *bench, lasts time.Duration)
	needs  func(b *bench) bool // nil: nothing that a machine may lack
}

// The victims.
const (
	theSidecars   = "sidecar"
	thePostgres   = "PostgreSQL"
	theClickHouse = "ClickHouse"
	thePGNetwork  = "network to PostgreSQL"
	theCHNetwork  = "network to ClickHouse"
	theStateDisk  = "disk of the sidecar"
)

// faults is every kind of trouble there is.
func faults() []fault {
	all := []fault{
		{name: "kill -9", victim: theSidecars, do: killSidecar},
		{name: "kill -9 of the standby as well", victim: theSidecars, do: killBoth},
		{name: "ended in order, the standby takes over", victim: theSidecars, do: stopSidecar},
		{name: "stopped (SIGSTOP) and continued", victim: theSidecars, do: freezeSidecar},

		{name: "kill -9", victim: thePostgres, do: func(b *bench, d time.Duration) { b.pg.Kill(); wait(d); b.pg.Start() }},
		{name: "immediate shutdown", victim: thePostgres, do: func(b *bench, d time.Duration) { b.pg.Quit(); wait(d); b.pg.Start() }},
		{name: "restart", victim: thePostgres, do: func(b *bench, _ time.Duration) { b.pg.Restart() }},
		{name: "sessions of the sidecar terminated", victim: thePostgres, do: terminateSessions},
		{name: "walsender stopped (SIGSTOP) and continued", victim: thePostgres, do: freezeWalsender},

		{name: "kill -9", victim: theClickHouse, do: func(b *bench, d time.Duration) { b.ch.Kill(); wait(d); b.ch.Start() }},
		{name: "restart", victim: theClickHouse, do: func(b *bench, _ time.Duration) { b.ch.Restart() }},
		{name: "stopped (SIGSTOP) and continued", victim: theClickHouse, do: freezeClickHouse},
		{name: "away for long", victim: theClickHouse, do: func(b *bench, _ time.Duration) { b.ch.Kill(); wait(b.long); b.ch.Start() }},
		{name: "disk full", victim: theClickHouse, do: fillClickHouse, needs: func(b *bench) bool { return b.chDisk != "" }},

		{name: "disk full, ClickHouse away", victim: theStateDisk, also: theCHNetwork, do: fillState, needs: func(b *bench) bool { return b.stateDisk != "" }},
	}
	for _, victim := range []string{thePGNetwork, theCHNetwork} {
		all = append(all, networkFaults(victim)...)
	}
	return all
}

// networkFaults are what can happen between the sidecars and one server.
func networkFaults(victim string) (all []fault) {
	turn := func(w network.Weather) func(*network.Proxy) { return func(p *network.Proxy) { p.Turn(w) } }
	halve := func(server bool) func(*network.Proxy) { return func(p *network.Proxy) { p.Halve(server) } }
	reset := (*network.Proxy).Reset
	for _, f := range []struct {
		name       string
		begin, end func(*network.Proxy)
	}{
		{"black hole, then reset", turn(network.Hole), func(p *network.Proxy) { p.Reset(); p.Turn(network.Fair) }},
		{"stalled, then goes on", turn(network.Hole), turn(network.Fair)},
		{"half open: the server is gone", halve(true), reset},
		{"half open: the sidecar is gone", halve(false), reset},
		{"slow trickle", turn(network.Trickle), turn(network.Fair)},
	} {
		all = append(all, fault{name: f.name, victim: victim, do: func(b *bench, d time.Duration) {
			f.begin(b.networks[victim])
			wait(d)
			f.end(b.networks[victim])
		}})
	}
	return append(all, fault{name: "cut in the middle of a message", victim: victim, do: func(b *bench, d time.Duration) {
		b.networks[victim].Cut(rand.New(rand.NewPCG(uint64(d), 0)), 20_000)
		wait(d)
		b.networks[victim].Reset()
	}})
}

// leader is the sidecar that writes, as far as its log tells; else the first.
func (b *bench) leader() *sidecar {
	for _, s := range b.sidecars {
		if s.leads() {
			return s
		}
	}
	return b.sidecars[0]
}

// leads reports whether the log of the sidecar says that it has the stream.
func (s *sidecar) leads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log.String()
	return strings.LastIndex(log, takeover) > strings.LastIndex(log, isStandby)
}

// again starts a sidecar that has ended, with an empty log.
func (b *bench) again(s *sidecar) {
	s.mu.Lock()
	b.spooled += strings.Count(s.log.String(), `"message":"spooling begins"`)
	s.log.Reset()
	s.mu.Unlock()
	s.start()
}

func killSidecar(b *bench, _ time.Duration) {
	s := b.leader()
	s.kill()
	b.again(s)
}

func killBoth(b *bench, d time.Duration) {
	for _, s := range b.sidecars {
		s.kill()
	}
	wait(d)
	for _, s := range b.sidecars {
		b.again(s)
	}
}

// stopSidecar asks for the end. It may fail to store the rest, when ClickHouse
// is away, but never in a way that needs a human.
func stopSidecar(b *bench, _ time.Duration) {
	s := b.leader()
	if c := s.end(syscall.SIGTERM); c != nil && c.ProcessState.ExitCode() == 5 {
		b.t.Errorf("the sidecar ended with %s\n%s", c.ProcessState, s.tail())
	}
	b.again(s)
}

func freezeSidecar(b *bench, d time.Duration) {
	s := b.leader()
	s.mu.Lock()
	process := s.process.Process
	s.mu.Unlock()
	b.freeze(d, process.Pid)
}

// freeze stops processes for a while. One that is gone meanwhile is no error.
func (b *bench) freeze(d time.Duration, pids ...int) {
	for _, pid := range pids {
		b.signal(pid, syscall.SIGSTOP)
	}
	wait(d)
	for _, pid := range pids {
		b.signal(pid, syscall.SIGCONT)
	}
}

func (b *bench) signal(pid int, s syscall.Signal) {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		b.t.Errorf("send %s: %v", s, err)
	}
}

func freezeClickHouse(b *bench, d time.Duration) { b.freeze(d, b.ch.Server.PID()) }

func terminateSessions(b *bench, _ time.Duration) {
	b.pg.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgwitness%'")
}

func freezeWalsender(b *bench, d time.Duration) {
	pid := 0
	if _, err := fmt.Sscan(b.pg.Value("SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = 'pgwitness_shop'"), &pid); err != nil {
		b.t.Errorf("read the pid of the walsender: %v", err)
	}
	if pid != 0 {
		b.freeze(d, pid)
	}
}

// ballast fills what is free in a folder's file system but for some bytes, until it is released.
func (b *bench) ballast(dir string, leave int64) (release func()) {
	path := filepath.Join(dir, "ballast")
	file, err := os.Create(path)
	if err != nil {
		b.t.Error(err)
		return func() {}
	}
	block := make([]byte, 1<<20)
	for size := len(block); size > 0 && (leave == 0 || b.free(dir) > leave); {
		if _, err = file.Write(block[:size]); err != nil {
			size /= 16
		}
	}
	if err != nil && (leave > 0 || !errors.Is(err, syscall.ENOSPC)) {
		b.t.Errorf("fill %s: %v", dir, err)
	}
	return func() {
		if err := errors.Join(file.Close(), os.Remove(path)); err != nil {
			b.t.Error(err)
		}
	}
}

// free is how many bytes the file system of a folder has left.
func (b *bench) free(dir string) int64 {
	free, err := freeBytes(dir)
	if err != nil {
		b.t.Errorf("ask what is free in %s: %v", dir, err)
	}
	return free
}

// fillClickHouse leaves no room beside what ClickHouse keeps free, so that it refuses whatever would
// begin. Half of that reserve is left to what has begun, because the engine of the tests drops the
// errors of write(2): see engine.ClickHouse.
func fillClickHouse(b *bench, d time.Duration) {
	release := b.ballast(b.chDisk, chReserve/2)
	if err := b.admin.Exec(context.Background(), "INSERT INTO torture_room VALUES (1)"); store.Code(err) != store.CodeNotEnoughSpace {
		b.t.Errorf("an insert into a full disk: %v, want NOT_ENOUGH_SPACE", err)
	}
	wait(d)
	release()
}

// fillState leaves the sidecar no room at home while it cannot store anything
// elsewhere either.
func fillState(b *bench, d time.Duration) {
	release := b.ballast(b.stateDisk, 0)
	b.networks[theCHNetwork].Turn(network.Hole)
	wait(d)
	b.networks[theCHNetwork].Reset()
	b.networks[theCHNetwork].Turn(network.Fair)
	release()
}
