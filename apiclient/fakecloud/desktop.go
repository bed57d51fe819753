package fakecloud

import (
	"slices"
	"time"
)

// Types of desktops.
const (
	Dedicated = "DEDICATED" // of one user
	Shared    = "SHARED"    // of several users or groups
	Pooled    = "POOLED"    // of a pool; a detach is a job
)

// Values of Desktop.Status. Any other value is shown unchanged.
const (
	Active     = "ACTIVE"
	Shutoff    = "SHUTOFF"
	Errored    = "ERROR"
	Hibernated = "HIBERNATED"
	Deleted    = "DELETED" // not documented
)

// Values of Desktop.AttachState, spelled as the API spells them.
const (
	Attached         = "ATTACHED"
	Attaching        = "ATTACHING"
	Waiting          = "WAITING"
	Unattached       = "UNATTACH"
	Detaching        = "DEATTACHING"
	Detached         = "DEATTACHED"
	AttachFailed     = "ATTACHFAIL"
	AttachRepeatable = "ATTACH_FAIL_CAN_ATTACH_AGAIN"
	DetachFailed     = "DEATTACHFAIL"
	DetachRepeatable = "DEATTACH_FAIL_CAN_DEATTACH_AGAIN"
)

// Desktop is the state of one desktop.
type Desktop struct {
	ID           string
	ComputerName string // defaults to a name made from ID
	Type         string // defaults to Dedicated
	Status       string // defaults to Active
	LoginStatus  string // defaults to REGISTERED
	AttachState  string // defaults to Attached
	Users        []User // defaults to one user made from ID if Attached

	// TaskStatus is the running task, such as "rebooting"; empty if idle. The task ends
	// at TaskUntil, if set.
	TaskStatus string
	TaskUntil  time.Time
	// Process is the progress of a task in percent; nil is null.
	Process *int

	Tags   []string // as "key=value"
	PoolID string   // of its pool; empty: none

	Created  time.Time // defaults to a day in 2024
	LastUsed time.Time // zero: nobody has used it
	LastUser string    // who used it then

	Frozen      bool // is_freeze: refused, CodeFrozen
	Maintenance bool // in_maintenance_mode: refused, CodeMaintenance

	// DetachEnds are the attach states in which the next accepted detaches of this
	// desktop end, one each; later ones end as Detached. A detach that ends as Detaching
	// never ends.
	DetachEnds []string
	// DetachTakes is how much longer than Config.DetachDelay its detaches take.
	DetachTakes time.Duration
	// AttachEnds is the same for attach calls; later ones end as Attached.
	AttachEnds []string
	// AfterDetach are users who get the desktop, once, at the moment it has no user.
	AfterDetach []User
}

// User is a user or group with a desktop. Type is USER or GROUP and defaults to USER, ID to
// one made from Name, Group to "users".
type User struct {
	ID, Name, Domain, Group, Type string
}

// withDefaults returns a copy with the defaults filled in.
func (d Desktop) withDefaults() Desktop {
	d = d.clone()
	if d.ComputerName == "" {
		d.ComputerName = madeName("PC-", d.ID)
	}
	if d.Type == "" {
		d.Type = Dedicated
	}
	if d.Status == "" {
		d.Status = Active
	}
	if d.LoginStatus == "" {
		d.LoginStatus = "REGISTERED"
	}
	if d.AttachState == "" {
		d.AttachState = Attached
	}
	if d.AttachState == Attached && len(d.Users) == 0 {
		d.Users = []User{{Name: madeName("user-", d.ID)}}
	}
	for i := range d.Users {
		d.Users[i] = d.Users[i].withDefaults()
	}
	return d
}

func (u User) withDefaults() User {
	if u.ID == "" {
		u.ID = "id-" + u.Name
	}
	if u.Group == "" {
		u.Group = "users"
	}
	if u.Type == "" {
		u.Type = "USER"
	}
	return u
}

// created is Created or its default.
func (d *Desktop) created() time.Time {
	if d.Created.IsZero() {
		return time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	}
	return d.Created.UTC()
}

// madeName is short enough for a computer name (15 characters). It keeps the end of id,
// because ids made by counting differ there.
func madeName(prefix, id string) string {
	return prefix + id[max(0, len(id)-10):]
}

// clone shares no memory with d.
func (d Desktop) clone() Desktop {
	d.Users = slices.Clone(d.Users)
	d.Tags = slices.Clone(d.Tags)
	d.DetachEnds = slices.Clone(d.DetachEnds)
	d.AttachEnds = slices.Clone(d.AttachEnds)
	d.AfterDetach = slices.Clone(d.AfterDetach)
	if d.Process != nil {
		p := *d.Process
		d.Process = &p
	}
	return d
}

// unattached reports that the desktop has no user to detach.
func (d *Desktop) unattached() bool {
	return d.AttachState == Unattached || d.AttachState == Detached
}

// busyWith returns the task or state with which a detach conflicts, or "".
func (d *Desktop) busyWith() string {
	if d.TaskStatus != "" {
		return d.TaskStatus
	}
	switch d.AttachState {
	case Attaching, Detaching, Waiting:
		return d.AttachState
	}
	return ""
}

// without returns d after the detachment pend.
func (d Desktop) without(pend detachment) Desktop {
	if pend.end != Detached {
		d.AttachState = pend.end
		return d
	}
	d.Users = slices.DeleteFunc(slices.Clone(d.Users), pend.takes)
	if len(d.Users) > 0 {
		d.AttachState = Attached
		return d
	}
	if heirs := d.AfterDetach; len(heirs) > 0 {
		d.Users, d.AfterDetach = nil, nil
		for _, u := range heirs {
			d.Users = append(d.Users, u.withDefaults())
		}
		d.AttachState = Attached
		return d
	}
	d.AttachState = Detached
	d.Status = pend.power(d.Type)
	if d.Status == Shutoff {
		d.LoginStatus = "UNREGISTER"
	}
	return d
}
