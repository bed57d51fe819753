//go:build !linux

package app

import "syscall"

// endsWithParent makes a process end with this one where the system can do that.
func endsWithParent() *syscall.SysProcAttr { return nil }
