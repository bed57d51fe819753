package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

func keyOf(k access.Key) api.Key {
	return api.Key{
		ID: k.ID, Name: k.Name, Owner: k.Owner, Role: string(k.Role), Projects: k.Projects, UnknownUsers: k.UnknownUsers,
		DesktopsPerHour: k.DesktopsPerHour, DesktopsPerDay: k.DesktopsPerDay, CreatedAt: k.CreatedAt,
		CreatedBy: k.CreatedBy, ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt, LastUsedAt: k.LastUsedAt,
	}
}

// whoAmI is GET /v1/key: the key that was sent.
func (s *server) whoAmI(r *request) error {
	return r.answer(http.StatusOK, keyOf(r.key))
}

// requireAllProjects refuses keys that are bound to projects: they could make a key for all.
func (r *request) requireAllProjects() error {
	if len(r.key.Projects) > 0 {
		return problem(http.StatusForbidden, "project_not_allowed", "the key is for certain projects, and this concerns all; nothing was changed")
	}
	return nil
}

// listKeys is GET /v1/keys.
func (s *server) listKeys(r *request) error {
	if err := r.requireAllProjects(); err != nil {
		return err
	}
	list, err := s.Keys.List(r.Context())
	var out []api.Key
	for _, k := range list {
		out = append(out, keyOf(k))
	}
	return answerPage(r, out, "", err)
}

// createKey is POST /v1/keys: 201 and the key, which is shown this once.
func (s *server) createKey(r *request) error {
	var in api.KeyRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	if err := r.requireAllProjects(); err != nil {
		return err
	}
	if in.Projects != nil && len(in.Projects) == 0 {
		return fault("/projects", "is empty: name some, or leave it out for all")
	}
	for i, alias := range in.Projects {
		if !slices.Contains(s.Store.Projects, alias) {
			return fault(fmt.Sprintf("/projects/%d", i), "there is no such project")
		}
	}
	act := s.act(r, tasks.AuditKeyCreated, projectsText(in.Projects), "", "")
	secret, key, err := s.Keys.Create(r.Context(), access.Key{
		Name: in.Name, Owner: cmp.Or(in.Owner, r.key.Owner, r.key.Name), Role: access.Role(in.Role), Projects: in.Projects,
		UnknownUsers: in.UnknownUsers, DesktopsPerHour: in.DesktopsPerHour, DesktopsPerDay: in.DesktopsPerDay,
		ExpiresAt: in.ExpiresAt, CreatedBy: r.key.Name,
	}, func(k access.Key) error {
		act.Event.Detail = fmt.Sprintf("%s, role %s, owner %s", k.Name, k.Role, k.Owner) + quotaText(k)
		return act.begins(k.ID)
	})
	var invalid *access.InvalidError
	if errors.As(err, &invalid) {
		return fault("/"+invalid.Field, "%s", invalid.Why)
	}
	if err := act.End(err); err != nil {
		return err
	}
	return r.answer(http.StatusCreated, api.NewKey{Key: keyOf(key), Secret: string(secret)})
}

// revokeKey is POST /v1/keys/{id}:revoke.
func (s *server) revokeKey(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	if err := r.requireAllProjects(); err != nil {
		return err
	}
	k, err := s.Keys.Get(r.Context(), r.vars["id"])
	if errors.Is(err, access.ErrNotFound) {
		return problem(http.StatusNotFound, "key_not_found", "there is no such key; nothing was changed: check the id")
	}
	if err != nil {
		return err
	}
	act := s.act(r, tasks.AuditKeyRevoked, projectsText(k.Projects), k.ID, reason)
	act.Event.Detail = fmt.Sprintf("%s, owner %s", k.Name, cmp.Or(k.Owner, "unknown"))
	err = act.Do(func() error {
		k, err = s.Keys.Revoke(r.Context(), k.ID)
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, keyOf(k))
}

// quotaText says what a key may ask for, after other text.
func quotaText(k access.Key) (out string) {
	if k.DesktopsPerHour > 0 {
		out += fmt.Sprintf(", %d desktops an hour", k.DesktopsPerHour)
	}
	if k.DesktopsPerDay > 0 {
		out += fmt.Sprintf(", %d desktops a day", k.DesktopsPerDay)
	}
	return out
}

// takeQuota counts what a new operation asks for against the quota of the key: each desktop,
// and each user and computer as one, as their desktops are not known yet. An operation is
// counted once. A retry asks for nothing new: its desktops were counted with their operation.
func (s *server) takeQuota(r *request, id string, rows int) error {
	k := r.key
	if k.DesktopsPerHour == 0 && k.DesktopsPerDay == 0 {
		return nil
	}
	ok, after, err := s.record.TakeQuota(r.Context(), k.Name, id, rows, record.Quota{Hourly: k.DesktopsPerHour, Daily: k.DesktopsPerDay})
	if err != nil || ok {
		return err
	}
	limit := strings.TrimPrefix(quotaText(k), ", ")
	if after == 0 {
		return problem(http.StatusUnprocessableEntity, "quota_too_small",
			"the request has %d rows, and the key is for %s; nothing was changed: split the request, or use another key", rows, limit)
	}
	p := problem(http.StatusTooManyRequests, "quota_used",
		"the key is for %s, and with these %d it would exceed that; nothing was changed: send it again after Retry-After", limit, rows)
	p.RetryAfter = after
	return p
}
