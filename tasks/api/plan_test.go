package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestSummaryOf(t *testing.T) {
	t.Parallel()
	for want, plans := range map[string][]tasks.Plan{
		"Of 5,000 desktops, 4,812 will be detached from 4,790 people, 150 will be put on hold (SHARED 100, OTHER_USER 50), and 38 need nothing.": {{
			Desktops: 5000, People: 4790, Counts: []tasks.PlannedCount{
				{Of: "desktops", Does: "hold", Code: "OTHER_USER", Count: 50}, {Of: "desktops", Does: "hold", Code: "SHARED", Count: 100},
				{Of: "desktops", Does: "send", Count: 4812}, {Of: "desktops", Does: "done", Count: 38},
			},
		}},
		"Of 2 desktops, 3 users, and 1 computer, 1 user and 1 computer lead to 2 more desktops, 3 desktops will be detached from 1 person and 1 group, " +
			"1 desktop and 1 user will be put on hold (SHARED 1, USER_UNKNOWN 1), and 1 user has no desktop.": {{
			Desktops: 2, Users: 3, Computers: 1, Found: 2, People: 1, Groups: 1, Counts: []tasks.PlannedCount{
				{Of: "desktops", Does: "hold", Code: "SHARED", Count: 1}, {Of: "users", Does: "hold", Code: "USER_UNKNOWN", Count: 1},
				{Of: "desktops", Does: "send", Count: 3}, {Of: "users", Does: "find", Count: 1}, {Of: "computers", Does: "find", Count: 1},
				{Of: "users", Does: "done", Count: 1},
			},
		}},
		"Of 3 desktops, 1 will be detached, 1 cannot be read and will fail (HTTP_400 1), and 1 is busy and will be tried later (BUSY 1).": {
			{Desktops: 2, Counts: []tasks.PlannedCount{{Of: "desktops", Does: "later", Code: "BUSY", Count: 1}, {Of: "desktops", Does: "send", Count: 1}}},
			{Desktops: 1, Counts: []tasks.PlannedCount{{Of: "desktops", Does: "fail", Code: "HTTP_400", Count: 1}}},
		},
		"Of 1 user, 1 user leads to 1 desktop and 1 desktop is being detached already.": {
			{Users: 1, Found: 1, Counts: []tasks.PlannedCount{{Of: "users", Does: "find", Count: 1}, {Of: "desktops", Does: "follow", Count: 1}}},
		},
	} {
		require.Equal(t, want, SummaryOf(plans...))
	}
}
