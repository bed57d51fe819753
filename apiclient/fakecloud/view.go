package fakecloud

import (
	"strings"
	"time"
)

// desktopView is DesktopDetailInfo of the SDK: the fields that matter, and some that a client
// must tolerate.
type desktopView struct {
	ID              string         `json:"desktop_id"`
	ComputerName    string         `json:"computer_name"`
	HostName        string         `json:"os_host_name"`
	Type            string         `json:"desktop_type"`
	Status          string         `json:"status"`
	TaskStatus      string         `json:"task_status"`
	Process         *int           `json:"process"`
	AttachState     string         `json:"attach_state"`
	AttachUsers     []userView     `json:"attach_user_infos"`
	UserName        string         `json:"user_name"`
	UserList        []string       `json:"user_list"`
	UserGroupList   []string       `json:"user_group_list"`
	UserGroup       string         `json:"user_group"`
	Domain          string         `json:"domain"`
	LoginStatus     string         `json:"login_status"`
	Frozen          bool           `json:"is_freeze"`
	Maintenance     bool           `json:"in_maintenance_mode"`
	Isolated        bool           `json:"isolated"`
	Created         string         `json:"created"`
	EnterpriseID    string         `json:"enterprise_project_id"`
	OrderID         *string        `json:"order_id"`
	BillResourceID  *string        `json:"bill_resource_id"`
	OUName          *string        `json:"ou_name"`
	SID             string         `json:"sid"`
	Tags            []tagView      `json:"tags"`
	Metadata        map[string]any `json:"metadata"`
	DataVolumes     []any          `json:"data_volumes"`
	Product         map[string]any `json:"product"`
	AvailableInZone string         `json:"availability_zone"`

	// The SDK declares a map of arrays, the example in the specification has an array, see
	// AddressList: a client that decodes one fails on the other.
	Addresses map[string][]map[string]any `json:"addresses"`
}

// userView is an entry of attach_user_infos.
type userView struct {
	ID     string `json:"user_id"`
	Name   string `json:"user_name"`
	Domain string `json:"domain"`
	Group  string `json:"user_group"`
	Type   string `json:"type"`
}

// tagView is an entry of tags.
type tagView struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// The fields of a view that are the same for all desktops; never modified.
var (
	noTags    = []tagView{}
	metadata  = map[string]any{"charging_mode": "1", "metering.image_id": nil, "image_name": "Windows <10> & more"}
	flavor    = "workspace.x86.ultimate.large2"
	product   = map[string]any{"product_id": flavor, "flavor_id": flavor, "cpu": "2", "memory": "4096"}
	addresses = map[string][]map[string]any{
		"net": {{"addr": "192.168.0.10", "OS-EXT-IPS:type": "fixed", "version": "4", "OS-EXT-IPS-MAC:mac_addr": nil}},
	}
)

func viewOf(d Desktop) desktopView {
	v := desktopView{
		ID: d.ID, ComputerName: d.ComputerName, HostName: d.ComputerName,
		Type: d.Type, Status: d.Status, TaskStatus: d.TaskStatus, Process: d.Process,
		AttachState: d.AttachState, LoginStatus: d.LoginStatus, Frozen: d.Frozen, Maintenance: d.Maintenance,
		AttachUsers: []userView{}, UserList: []string{}, UserGroupList: []string{}, UserName: d.firstUser(),
		EnterpriseID: "0", Created: d.created().Format(time.RFC3339),
		AvailableInZone: "ap-southeast-3a", Tags: noTags, Metadata: metadata, Product: product, Addresses: addresses,
	}
	for _, tag := range d.Tags {
		key, value, _ := strings.Cut(tag, "=")
		v.Tags = append(v.Tags, tagView{key, value})
	}
	for _, u := range d.Users {
		v.AttachUsers = append(v.AttachUsers, userView(u))
		if u.Type == "GROUP" {
			v.UserGroupList = append(v.UserGroupList, u.Name)
			continue
		}
		v.UserList = append(v.UserList, u.Name)
		v.UserGroup, v.Domain = u.Group, u.Domain
	}
	return v
}

// firstUser returns the name of a desktop's first user, or "".
func (d *Desktop) firstUser() string {
	if len(d.Users) == 0 {
		return ""
	}
	return d.Users[0].Name
}
