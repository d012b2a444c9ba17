package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/pgwitness/pgwitness/audit"
)

// runUser is the unprivileged user that PostgreSQL runs as when we are root. The nil runUser is
// ourselves.
type runUser struct {
	name     string
	uid, gid uint32
}

// unprivilegedUser picks the user that the distributions make for PostgreSQL, or else nobody.
func unprivilegedUser() (*runUser, error) {
	var problems error
	for _, name := range []string{"postgres", "nobody"} {
		u, err := lookUpUser(name)
		if err == nil {
			return u, nil
		}
		problems = errors.Join(problems, err)
	}
	return nil, audit.WithHint(
		fmt.Errorf("find an unprivileged user for postgres, which refuses root: %w", problems),
		"start pgwitness as an ordinary user")
}

func lookUpUser(name string) (*runUser, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read user id of %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read group id of %s: %w", name, err)
	}
	return &runUser{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
}

// credential drops the supplementary groups as well: root's are none of the server's business.
func (u *runUser) credential() *syscall.Credential {
	return &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: []uint32{}}
}

// passable reports, as an error with a hint, a folder on the way to dir that u may not enter.
func (u *runUser) passable(dir string) error {
	if u == nil {
		return nil
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("check the way to the postgres folder: %w", err)
		}
		if !u.mayEnter(info) {
			return audit.WithHint(
				fmt.Errorf("enter %s: user %s, as whom postgres runs under root, may not pass %s", dir, u.name, at),
				"choose a folder outside of "+at+", or start pgwitness as an ordinary user")
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// mayEnter reads the search bit that applies to u.
func (u *runUser) mayEnter(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && owner.Uid == u.uid:
		return info.Mode()&0o100 != 0
	case ok && owner.Gid == u.gid:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}

// mkdir makes a folder that only u can enter.
func (u *runUser) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return u.own(path)
}

// writeFile writes a file that only u can read.
func (u *runUser) writeFile(path string, content []byte) error {
	if err := writeFile(path, content); err != nil {
		return err
	}
	return u.own(path)
}

func (u *runUser) own(path string) error {
	if u == nil {
		return nil
	}
	return os.Lchown(path, int(u.uid), int(u.gid))
}

// ownTree gives a folder and all in it to u.
func (u *runUser) ownTree(dir string) error {
	if u == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return u.own(path)
	})
}
