// Command train takes the sample data set breast-cancer from import to prediction.
//
// It reads FLARE_USERNAME and FLARE_PASSWORD, and FLARE_AUTH_ADDRESS, FLARE_SCRAPER_ADDRESS and FLARE_ML_ADDRESS where the
// services are not at the addresses of `flare up`.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"flare.example/go/flare"
	authv1 "flare.example/go/gen/flare/auth/v1"
	mlv1 "flare.example/go/gen/flare/ml/v1"
	scraperv1 "flare.example/go/gen/flare/scraper/v1"
)

const (
	target  = "diagnosis"
	dropped = "fractal dimension error"
	seed    = 7
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatalf("train: %v", err)
	}
}

func run(ctx context.Context) error {
	addresses := flare.Addresses{
		Auth:    setting("FLARE_AUTH_ADDRESS", flare.LocalAddresses.Auth),
		Scraper: setting("FLARE_SCRAPER_ADDRESS", flare.LocalAddresses.Scraper),
		ML:      setting("FLARE_ML_ADDRESS", flare.LocalAddresses.ML),
	}
	login := flare.Login(setting("FLARE_USERNAME", "admin"), os.Getenv("FLARE_PASSWORD"))
	client, err := flare.Connect(ctx, addresses, login)
	if err != nil {
		return err
	}
	defer client.Close()
	caller, err := client.Auth.GetCaller(ctx, &authv1.GetCallerRequest{})
	if err != nil {
		return err
	}
	fmt.Printf("logged in as %s\n", caller.Subject)

	id := "breast-cancer-" + suffix()
	dataset, err := importSample(ctx, client, id)
	if err != nil {
		return err
	}
	view, err := createView(ctx, client, dataset)
	if err != nil {
		return err
	}
	version, err := train(ctx, client, id, view)
	if err != nil {
		return err
	}
	return predict(ctx, client, version, dataset, view)
}

func importSample(ctx context.Context, client *flare.Client, id string) (string, error) {
	job, err := client.Scraper.ImportDataset(ctx, &scraperv1.ImportDatasetRequest{
		Source:    &scraperv1.ImportDatasetRequest_Sample{Sample: &scraperv1.SampleRef{Sample: "breast-cancer"}},
		DatasetId: id,
	})
	if err != nil {
		return "", err
	}
	watch := client.WatchImportJob(ctx, job.Name, 0)
	defer watch.Close()
	for watch.Next() {
		switch event := watch.Event().Event.(type) {
		case *scraperv1.ImportEvent_Progress:
			fmt.Printf("import: %s, %d bytes\n", event.Progress.Phase, event.Progress.DoneBytes)
		case *scraperv1.ImportEvent_DatasetCreated:
			made := event.DatasetCreated
			fmt.Printf("%s: %d rows, %d columns\n", made.Dataset, made.RowCount, made.ColumnCount)
		}
	}
	if err := watch.Err(); err != nil {
		return "", err
	}
	return watch.Job().Dataset, flare.JobError(watch.Job())
}

func createView(ctx context.Context, client *flare.Client, dataset string) (*scraperv1.DatasetView, error) {
	view, err := client.Scraper.CreateDatasetView(ctx, &scraperv1.CreateDatasetViewRequest{
		Parent: dataset,
		ViewId: "by-diagnosis",
		View: &scraperv1.DatasetView{
			Columns: []*scraperv1.ColumnSelection{
				{Column: target, Role: scraperv1.ColumnRole_COLUMN_ROLE_TARGET},
				{Column: dropped, Role: scraperv1.ColumnRole_COLUMN_ROLE_IGNORED},
			},
			Split: &scraperv1.Split{
				TrainFraction: 0.7, ValidationFraction: 0.15, TestFraction: 0.15, Seed: seed,
				Method: &scraperv1.Split_Stratified{Stratified: &scraperv1.StratifiedSplit{Column: target}},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	rows := view.RowCounts
	fmt.Printf("%s: %d rows train, %d validate, %d test\n", view.Name, rows.Train, rows.Validation, rows.Test)
	return view, nil
}

func train(ctx context.Context, client *flare.Client, id string, view *scraperv1.DatasetView) (string, error) {
	model, err := client.Models.CreateModel(ctx, &mlv1.CreateModelRequest{
		ModelId: id,
		Model: &mlv1.Model{Specification: &mlv1.ModelSpecification{
			Architecture: &mlv1.ModelSpecification_Mlp{Mlp: &mlv1.Mlp{HiddenUnits: []int32{32, 16}, Dropout: 0.1}},
		}},
		View: view.Name,
	})
	if err != nil {
		return "", err
	}
	fmt.Printf("%s: %d parameters\n", model.Name, model.Size.ParameterCount)
	job, err := client.Training.CreateTrainingJob(ctx, &mlv1.CreateTrainingJobRequest{TrainingJob: &mlv1.TrainingJob{
		Model: model.Name,
		View:  view.Name,
		Plan:  &mlv1.TrainingPlan{Epochs: 30, BatchSize: 32, LearningRate: 0.003, Seed: seed},
	}})
	if err != nil {
		return "", err
	}
	watch := client.WatchTrainingJob(ctx, job.Name, 0)
	defer watch.Close()
	for watch.Next() {
		switch event := watch.Event().Event.(type) {
		case *mlv1.TrainingEvent_EpochFinished:
			epoch := event.EpochFinished
			fmt.Printf(
				"epoch %2d: train loss %.4f, validation loss %.4f\n", epoch.Epoch, epoch.TrainLoss, epoch.ValidationLoss,
			)
		case *mlv1.TrainingEvent_TestFinished:
			for _, metric := range event.TestFinished.Metrics {
				fmt.Printf("test %s: %.4f\n", metric.Name, metric.Value)
			}
		case *mlv1.TrainingEvent_Warning:
			fmt.Printf("warning: %s\n", event.Warning.Message)
		}
	}
	if err := watch.Err(); err != nil {
		return "", fmt.Errorf("%w (%s goes on; watch it again after sequence %d)", err, job.Name, watch.Sequence())
	}
	if err := flare.JobError(watch.Job()); err != nil {
		return "", err
	}
	fmt.Printf("trained %s\n", watch.Job().Version)
	return watch.Job().Version, nil
}

// predict asks for the first row of the data set and prints the answer beside the truth.
func predict(
	ctx context.Context, client *flare.Client, version, dataset string, view *scraperv1.DatasetView,
) error {
	var columns []string
	for _, column := range view.ResolvedColumns {
		columns = append(columns, column.SourceColumn)
	}
	preview, err := client.Scraper.PreviewDataset(
		ctx, &scraperv1.PreviewDatasetRequest{Name: dataset, RowCount: 1, Columns: columns},
	)
	if err != nil {
		return err
	}
	row := map[string]interface{}{}
	truth := ""
	for i, cell := range preview.Rows[0].Cells {
		name := preview.Columns[i].Name
		if name == target {
			truth = cell.GetText()
			continue
		}
		if row[name], err = strconv.ParseFloat(cell.GetText(), 64); err != nil {
			return fmt.Errorf("column %q of the first row: %w", name, err)
		}
	}
	values, err := structpb.NewStruct(row)
	if err != nil {
		return err
	}
	answer, err := client.Predictions.Predict(ctx, &mlv1.PredictRequest{
		Name:   version,
		Inputs: &mlv1.PredictRequest_Rows{Rows: &mlv1.RowTable{Rows: []*structpb.Struct{values}}},
	})
	if err != nil {
		return err
	}
	for _, prediction := range answer.Targets {
		classes := prediction.GetClassification()
		fmt.Printf("%s: %s (in truth %s)\n", prediction.Target, classes.Labels[0], truth)
		for i, class := range classes.Classes {
			fmt.Printf("  %s: %.4f\n", class, classes.Probabilities[i])
		}
	}
	return nil
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// suffix keeps the names of one run apart from those of another.
func suffix() string {
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	return hex.EncodeToString(random)
}
