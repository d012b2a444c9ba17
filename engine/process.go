package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// pipeGrace is how long we wait for the output of an engine to end after the engine itself.
const pipeGrace = 2 * time.Second

// process is an engine running as our child, in a process group of its own so that a Ctrl-C on the
// terminal reaches us alone and we stop the engines in order.
type process struct {
	pid  int
	done chan struct{} // closed when the child is reaped
	err  error         // how it ended; readable after done
}

// spawn starts cmd as an engine that receives the signal death when our process dies. One thread
// starts the child and stays with it to its end, because the kernel takes the end of the starting
// thread for the death of the parent.
func spawn(cmd *exec.Cmd, death syscall.Signal) (*process, error) {
	dieWithParent(cmd, death)
	cmd.WaitDelay = pipeGrace
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// signal sends a signal to the engine; one that has ended already is not an error.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send signal %v to process %d: %w", s, p.pid, err)
	}
	return nil
}

// kill ends the engine and its children at once and returns when they are gone, as a power cut
// would, except that what the operating system has taken stays written.
func (p *process) kill() error {
	// Stopped, it has no further children while we list them.
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	children := descendants(p.pid)
	err := p.signal(syscall.SIGKILL)
	for _, pid := range children {
		// The error says that the child is gone already: it watches its parent.
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
	awaitEnd(children)
	return err
}

// wait waits for the end of the engine. When ctx ends first it is killed, and the error says so.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if err := p.kill(); err != nil {
		return err
	}
	return fmt.Errorf("wait for process %d to stop, killed it: %w", p.pid, context.Cause(ctx))
}

// exited reports whether the child is reaped. A nil process never ran.
func (p *process) exited() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// output is where an engine's messages go: a file in its folder and, if given, a writer as well.
type output struct {
	file  *os.File
	start int64 // where the messages of this start begin
	io.Writer
}

func openOutput(path string, also io.Writer) (*output, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open engine log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open engine log: %w", err), file.Close())
	}
	o := &output{file: file, start: info.Size(), Writer: file}
	if also != nil {
		o.Writer = io.MultiWriter(file, also)
	}
	return o, nil
}

// text returns what the engine said since this start, at most its last 4 KiB.
func (o *output) text() string {
	const most = 4 << 10
	info, err := o.file.Stat()
	if err != nil {
		return ""
	}
	from := max(o.start, info.Size()-most)
	said := make([]byte, info.Size()-from)
	n, _ := o.file.ReadAt(said, from) // a short read still says something
	return strings.TrimSpace(string(said[:n]))
}

// stream is what a child writes to: the file itself when nobody else listens, which needs no
// goroutine of ours and survives us.
func (o *output) stream() io.Writer {
	if o.Writer == io.Writer(o.file) {
		return o.file
	}
	return o.Writer
}
