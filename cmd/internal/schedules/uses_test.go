package schedules

import (
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// Their users are being written.
var _ = []any{
	(*record.Record).AddSchedule, (*record.Record).AdoptSchedules, (*record.Record).AllSchedules, (*record.Record).AskRun,
	(*record.Record).BeginScheduleRun, record.CheckSchedule, (*record.Record).CommitScheduleRun, (*record.Record).DropAskedRun,
	record.Ticks.Following, (*record.Record).ListsRun, (*record.Record).PauseSchedule, (*record.Record).PollSchedules,
	(*record.Record).RemoveSchedule, (*record.Record).ResumeSchedule, (*record.Record).ScheduleViews, (*record.Record).SkipTick,
	(*record.Record).UnskipTick, record.NewTicks, tasks.DefaultAtLeast, tasks.DefaultCatchUp, tasks.MissedOnce, tasks.OverlapSkip,
	tasks.PausedItself, tasks.ScheduleRequester, tasks.ScheduleResults, tasks.UserLocked,
}
