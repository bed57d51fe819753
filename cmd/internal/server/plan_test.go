package server

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// A plan that has to wait too long for the cloud is not said to lack Redis.
func TestAPlanThatTakesTooLong(t *testing.T) {
	t.Parallel()
	in := NewInside(newBench(t).srv.Config)
	in.handler.(*server).patience = 1
	_, err := in.As(access.Key{Name: "hr", Role: access.Producer}).Plan(t.Context(), api.OperationRequest{Project: "hq", Desktops: []string{"d1"}})
	var p *api.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusBadGateway, p.Status)
	require.Equal(t, api.CodeCloud, p.Code)
	require.Contains(t, p.Detail, "took longer than")
}
