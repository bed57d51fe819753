package app

import "syscall"

// endsWithParent makes a process end with this one, also if this one is killed, and keeps
// ctrl-C from ending it first.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
