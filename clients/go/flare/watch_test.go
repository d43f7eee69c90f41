package flare

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "flare.example/go/gen/flare/common/v1"
	mlv1 "flare.example/go/gen/flare/ml/v1"
	scraperv1 "flare.example/go/gen/flare/scraper/v1"
)

const jobName = "trainingJobs/t"

// lastSequence is how many events the job of these tests has.
const lastSequence = 12

// fault ends a stream of the training watch, or keeps it from going on.
type fault func(*fakeServices, mlv1.TrainingService_WatchTrainingJobServer) error

var passingFaults = map[string]fault{
	"unavailable": func(*fakeServices, mlv1.TrainingService_WatchTrainingJobServer) error {
		return failure(codes.Unavailable, "SHUTTING_DOWN", "draining")
	},
	"expired token": func(services *fakeServices, _ mlv1.TrainingService_WatchTrainingJobServer) error {
		services.expireTokens()
		return failure(codes.Unauthenticated, "TOKEN_EXPIRED", "the token has ended")
	},
	"reset stream": func(*fakeServices, mlv1.TrainingService_WatchTrainingJobServer) error {
		return status.Error(codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR")
	},
	"cut connection": func(services *fakeServices, stream mlv1.TrainingService_WatchTrainingJobServer) error {
		services.listener.cut()
		<-stream.Context().Done()
		return stream.Context().Err()
	},
	"silence": func(_ *fakeServices, stream mlv1.TrainingService_WatchTrainingJobServer) error {
		<-stream.Context().Done()
		return stream.Context().Err()
	},
	"early end": func(*fakeServices, mlv1.TrainingService_WatchTrainingJobServer) error { return nil },
}

// faultyWatch serves the job's events, `each` in a stream before the fault, which waits until the client has them.
func faultyWatch(
	services *fakeServices, each int64, fault fault,
) func(int64, mlv1.TrainingService_WatchTrainingJobServer) error {
	return func(after int64, stream mlv1.TrainingService_WatchTrainingJobServer) error {
		if err := sendSnapshot(stream, commonv1.JobState_JOB_STATE_RUNNING); err != nil {
			return err
		}
		for sequence := after + 1; sequence <= lastSequence; sequence++ {
			if sequence > after+each {
				for i := int64(0); i < each; i++ {
					<-services.received
				}
				return fault(services, stream)
			}
			event := &mlv1.TrainingEvent{Sequence: sequence}
			message := &mlv1.WatchTrainingJobResponse{Message: &mlv1.WatchTrainingJobResponse_Event{Event: event}}
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		return sendSnapshot(stream, commonv1.JobState_JOB_STATE_SUCCEEDED)
	}
}

func sendSnapshot(stream mlv1.TrainingService_WatchTrainingJobServer, state commonv1.JobState) error {
	job := &mlv1.TrainingJob{Name: jobName, State: state, LastSequence: lastSequence}
	return stream.Send(&mlv1.WatchTrainingJobResponse{Message: &mlv1.WatchTrainingJobResponse_Snapshot{Snapshot: job}})
}

func (f *fakeServices) sequencesOf(watch *TrainingWatch) []int64 {
	var seen []int64
	for watch.Next() {
		seen = append(seen, watch.Event().Sequence)
		f.received <- struct{}{}
	}
	return seen
}

func sequencesFrom(first int64) []int64 {
	var all []int64
	for sequence := first; sequence <= lastSequence; sequence++ {
		all = append(all, sequence)
	}
	return all
}

func TestWatchLosesAndRepeatsNothingThroughPassingFaults(t *testing.T) {
	for name, fault := range passingFaults {
		for _, each := range []int64{1, 5} {
			name, fault, each := name, fault, each
			t.Run(fmt.Sprintf("%s after %d", name, each), func(t *testing.T) {
				t.Parallel()
				services := startServices(t)
				services.watchTrainingJob = faultyWatch(services, each, fault)
				client := services.login(t)
				if name == "silence" {
					client.watching.silence = 100 * time.Millisecond
				}
				watch := client.WatchTrainingJob(context.Background(), jobName, 0)
				defer watch.Close()
				if seen := services.sequencesOf(watch); !reflect.DeepEqual(seen, sequencesFrom(1)) || watch.Err() != nil {
					t.Fatalf("saw %v, then %v", seen, watch.Err())
				}
				if watch.Job().State != commonv1.JobState_JOB_STATE_SUCCEEDED {
					t.Fatalf("ended with the job %v", watch.Job())
				}
			})
		}
	}
}

func TestWatchBeginsAfterTheGivenSequence(t *testing.T) {
	services := startServices(t)
	services.watchTrainingJob = faultyWatch(services, lastSequence, nil)
	watch := services.login(t).WatchTrainingJob(context.Background(), jobName, 7)
	if seen := services.sequencesOf(watch); !reflect.DeepEqual(seen, sequencesFrom(8)) || watch.Err() != nil {
		t.Fatalf("saw %v, then %v", seen, watch.Err())
	}
	if watch.Sequence() != lastSequence {
		t.Fatalf("stands at %d", watch.Sequence())
	}
}

// finished is a stream of a job that has ended before it began.
type finished struct {
	mlv1.TrainingService_WatchTrainingJobServer
}

func (f finished) Send(message *mlv1.WatchTrainingJobResponse) error {
	if job := message.GetSnapshot(); job != nil {
		job.State = commonv1.JobState_JOB_STATE_SUCCEEDED
	}
	return f.TrainingService_WatchTrainingJobServer.Send(message)
}

func TestWatchOfAFinishedJobCutShortGoesOn(t *testing.T) {
	services := startServices(t)
	serve := faultyWatch(services, 5, passingFaults["early end"])
	services.watchTrainingJob = func(after int64, stream mlv1.TrainingService_WatchTrainingJobServer) error {
		return serve(after, finished{stream})
	}
	watch := services.login(t).WatchTrainingJob(context.Background(), jobName, 0)
	if seen := services.sequencesOf(watch); !reflect.DeepEqual(seen, sequencesFrom(1)) || watch.Err() != nil {
		t.Fatalf("saw %v, then %v", seen, watch.Err())
	}
}

func TestWatchSkipsEventsThatAServerRepeats(t *testing.T) {
	services := startServices(t)
	serve := faultyWatch(services, lastSequence, nil)
	services.watchTrainingJob = func(_ int64, stream mlv1.TrainingService_WatchTrainingJobServer) error {
		return serve(0, stream)
	}
	watch := services.login(t).WatchTrainingJob(context.Background(), jobName, 4)
	if seen := services.sequencesOf(watch); !reflect.DeepEqual(seen, sequencesFrom(5)) {
		t.Fatalf("saw %v", seen)
	}
}

func TestHeartbeatsKeepAQuietStream(t *testing.T) {
	services := startServices(t)
	streams := 0
	services.watchTrainingJob = func(after int64, stream mlv1.TrainingService_WatchTrainingJobServer) error {
		streams++
		beat := &commonv1.Heartbeat{Sequence: after}
		for i := 0; i < 8; i++ {
			time.Sleep(100 * time.Millisecond) // the quiet itself: in all longer than a stream may be silent
			message := &mlv1.WatchTrainingJobResponse_Heartbeat{Heartbeat: beat}
			if err := stream.Send(&mlv1.WatchTrainingJobResponse{Message: message}); err != nil {
				return err
			}
		}
		return faultyWatch(services, lastSequence, nil)(after, stream)
	}
	client := services.login(t)
	client.watching.silence = 300 * time.Millisecond
	watch := client.WatchTrainingJob(context.Background(), jobName, 0)
	if seen := services.sequencesOf(watch); len(seen) != lastSequence || streams != 1 {
		t.Fatalf("saw %v over %d streams, then %v", seen, streams, watch.Err())
	}
}

func TestWatchEndsWithFailuresThatStay(t *testing.T) {
	stay := map[string]error{
		"NOT_FOUND":           failure(codes.NotFound, "NOT_FOUND", "no training job 'trainingJobs/t'"),
		"INTERNAL":            failure(codes.Internal, "INTERNAL", "internal error"),
		"EVENTS_OUT_OF_RANGE": failure(codes.OutOfRange, "EVENTS_OUT_OF_RANGE", "no event 99"),
		"SCOPE_MISSING":       failure(codes.PermissionDenied, "SCOPE_MISSING", "needs training.read"),
	}
	for reason, end := range stay {
		services := startServices(t)
		services.watchTrainingJob = faultyWatch(
			services, 3, func(*fakeServices, mlv1.TrainingService_WatchTrainingJobServer) error { return end },
		)
		watch := services.login(t).WatchTrainingJob(context.Background(), jobName, 0)
		if seen := services.sequencesOf(watch); len(seen) != 3 || ReasonOf(watch.Err()) != reason {
			t.Errorf("%s: saw %v, then %v", reason, seen, watch.Err())
		}
	}
}

func TestWatchWithATokenThatCannotBeRenewedEnds(t *testing.T) {
	services := startServices(t)
	services.access = "given"
	services.watchTrainingJob = faultyWatch(services, 3, passingFaults["expired token"])
	watch := services.connect(t, Token("given")).WatchTrainingJob(context.Background(), jobName, 0)
	if seen := services.sequencesOf(watch); len(seen) != 3 || status.Code(watch.Err()) != codes.Unauthenticated {
		t.Fatalf("saw %v, then %v", seen, watch.Err())
	}
}

func TestWatchGivesUpWhenItsPatienceEnds(t *testing.T) {
	services := startServices(t)
	services.watchTrainingJob = faultyWatch(services, 0, passingFaults["unavailable"])
	watch := services.login(t, WithPatience(50*time.Millisecond)).WatchTrainingJob(context.Background(), jobName, 0)
	if watch.Next() || ReasonOf(watch.Err()) != "SHUTTING_DOWN" {
		t.Fatalf("ended with %v", watch.Err())
	}
}

func TestWatchThatHearsNothingSaysSo(t *testing.T) {
	services := startServices(t)
	services.watchTrainingJob = faultyWatch(services, 0, passingFaults["silence"])
	client := services.login(t, WithPatience(0))
	client.watching.silence = 50 * time.Millisecond
	watch := client.WatchTrainingJob(context.Background(), jobName, 0)
	if watch.Next() || !strings.Contains(watch.Err().Error(), "heard nothing for 50ms") {
		t.Fatalf("ended with %v", watch.Err())
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	services := startServices(t)
	services.watchTrainingJob = faultyWatch(services, 3, passingFaults["silence"])
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch := services.login(t).WatchTrainingJob(ctx, jobName, 0)
	for watch.Next() {
		services.received <- struct{}{}
		if watch.Event().Sequence == 3 {
			cancel()
		}
	}
	if !errors.Is(watch.Err(), context.Canceled) {
		t.Fatalf("ended with %v", watch.Err())
	}
}

func TestImportWatchReattachesToo(t *testing.T) {
	services := startServices(t)
	services.watchImportJob = func(after int64, stream scraperv1.ScraperService_WatchImportJobServer) error {
		if after == 3 {
			job := &scraperv1.ImportJob{
				Name: "importJobs/i", State: commonv1.JobState_JOB_STATE_FAILED, LastSequence: 3,
				Error: status.Convert(failure(codes.InvalidArgument, "FILE_EMPTY", "'a.csv' has no rows")).Proto(),
			}
			message := &scraperv1.WatchImportJobResponse_Snapshot{Snapshot: job}
			return stream.Send(&scraperv1.WatchImportJobResponse{Message: message})
		}
		event := &scraperv1.ImportEvent{Sequence: after + 1}
		message := &scraperv1.WatchImportJobResponse_Event{Event: event}
		if err := stream.Send(&scraperv1.WatchImportJobResponse{Message: message}); err != nil {
			return err
		}
		return failure(codes.Unavailable, "SHUTTING_DOWN", "draining")
	}
	watch := services.login(t).WatchImportJob(context.Background(), "importJobs/i", 0)
	var seen []int64
	for watch.Next() {
		seen = append(seen, watch.Event().Sequence)
	}
	if !reflect.DeepEqual(seen, []int64{1, 2, 3}) || watch.Err() != nil {
		t.Fatalf("saw %v, then %v", seen, watch.Err())
	}
	err := JobError(watch.Job())
	if ReasonOf(err) != "FILE_EMPTY" {
		t.Fatalf("the job's error reads %v", err)
	}
	if err.Error() != "importJobs/i failed: InvalidArgument (FILE_EMPTY): 'a.csv' has no rows" {
		t.Fatalf("reads %q", err)
	}
}

func TestSweepWatchReattachesToo(t *testing.T) {
	services := startServices(t)
	services.watchSweep = func(after int64, stream mlv1.SweepService_WatchSweepServer) error {
		if after == 2 {
			best, value := &mlv1.SweepTrial{Number: 1}, 0.25
			best.Value = &value
			sweep := &mlv1.Sweep{
				Name: "sweeps/s", State: commonv1.JobState_JOB_STATE_SUCCEEDED, LastSequence: 2, BestTrial: best,
			}
			return stream.Send(&mlv1.WatchSweepResponse{Message: &mlv1.WatchSweepResponse_Snapshot{Snapshot: sweep}})
		}
		ended := &mlv1.SweepEvent_TrialEnded{TrialEnded: &mlv1.SweepTrial{Number: int32(after) + 1}}
		event := &mlv1.SweepEvent{Sequence: after + 1, Event: ended}
		if err := stream.Send(&mlv1.WatchSweepResponse{Message: &mlv1.WatchSweepResponse_Event{Event: event}}); err != nil {
			return err
		}
		return failure(codes.Unavailable, "SHUTTING_DOWN", "draining")
	}
	watch := services.login(t).WatchSweep(context.Background(), "sweeps/s", 0)
	var ended []int32
	for watch.Next() {
		ended = append(ended, watch.Event().GetTrialEnded().Number)
	}
	if !reflect.DeepEqual(ended, []int32{1, 2}) || watch.Err() != nil {
		t.Fatalf("saw %v, then %v", ended, watch.Err())
	}
	if watch.Job().BestTrial.GetValue() != 0.25 {
		t.Fatalf("ended as %v", watch.Job())
	}
}

func TestBatchPredictionWatchReattachesToo(t *testing.T) {
	services := startServices(t)
	services.watchBatch = func(after int64, stream mlv1.BatchPredictionService_WatchBatchPredictionServer) error {
		if after == 2 {
			job := &mlv1.BatchPrediction{
				Name: "batchPredictions/b", State: commonv1.JobState_JOB_STATE_SUCCEEDED, LastSequence: 2, Dataset: "datasets/d",
			}
			snapshot := &mlv1.WatchBatchPredictionResponse_Snapshot{Snapshot: job}
			return stream.Send(&mlv1.WatchBatchPredictionResponse{Message: snapshot})
		}
		progress := &mlv1.BatchPredictionEvent_Progress{
			Progress: &mlv1.BatchPredictionProgress{PredictedRows: 10 * (after + 1)},
		}
		event := &mlv1.BatchPredictionEvent{Sequence: after + 1, Event: progress}
		message := &mlv1.WatchBatchPredictionResponse_Event{Event: event}
		if err := stream.Send(&mlv1.WatchBatchPredictionResponse{Message: message}); err != nil {
			return err
		}
		return failure(codes.Unavailable, "SHUTTING_DOWN", "draining")
	}
	watch := services.login(t).WatchBatchPrediction(context.Background(), "batchPredictions/b", 0)
	var rows []int64
	for watch.Next() {
		rows = append(rows, watch.Event().GetProgress().PredictedRows)
	}
	if !reflect.DeepEqual(rows, []int64{10, 20}) || watch.Err() != nil {
		t.Fatalf("saw %v, then %v", rows, watch.Err())
	}
	if watch.Job().Dataset != "datasets/d" {
		t.Fatalf("ended as %v", watch.Job())
	}
}
