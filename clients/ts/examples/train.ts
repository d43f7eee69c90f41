/**
 * Takes the sample data set breast-cancer from import to prediction.
 *
 * Reads FLARE_USERNAME and FLARE_PASSWORD, and FLARE_AUTH_ADDRESS, FLARE_SCRAPER_ADDRESS and FLARE_ML_ADDRESS where the
 * services are not at the addresses of `flare up`.
 */
import { randomBytes } from "node:crypto";

import { assertSucceeded, connect, FlareError, localAddresses, login, scraper } from "@flare/client";
import type { FlareClient } from "@flare/client";

const TARGET = "diagnosis";
const DROPPED = "fractal dimension error";
const SEED = 7n;

/** Imports the sample and returns the name of its data set. */
async function importSample(client: FlareClient, datasetId: string): Promise<string> {
  const job = await client.scraper.importDataset({
    source: { case: "sample", value: { sample: "breast-cancer" } },
    datasetId,
  });
  const watch = client.watchImportJob(job.name);
  for await (const { event } of watch) {
    if (event.case === "progress") {
      console.log(`import: ${scraper.ImportPhase[event.value.phase]}, ${event.value.doneBytes} bytes`);
    } else if (event.case === "datasetCreated") {
      const { dataset, rowCount, columnCount } = event.value;
      console.log(`${dataset}: ${rowCount} rows, ${columnCount} columns`);
    }
  }
  assertSucceeded(watch.finalJob);
  return watch.finalJob.dataset;
}

async function createView(client: FlareClient, dataset: string): Promise<scraper.DatasetView> {
  const view = await client.scraper.createDatasetView({
    parent: dataset,
    viewId: "by-diagnosis",
    view: {
      columns: [
        { column: TARGET, role: scraper.ColumnRole.TARGET },
        { column: DROPPED, role: scraper.ColumnRole.IGNORED },
      ],
      split: {
        trainFraction: 0.7,
        validationFraction: 0.15,
        testFraction: 0.15,
        seed: SEED,
        method: { case: "stratified", value: { column: TARGET } },
      },
    },
  });
  const { train, validation, test } = view.rowCounts!;
  console.log(`${view.name}: ${train} rows train, ${validation} validate, ${test} test`);
  return view;
}

/** Trains a perceptron on the view and returns the name of its version. */
async function train(client: FlareClient, modelId: string, view: string): Promise<string> {
  const model = await client.models.createModel({
    modelId,
    model: { specification: { architecture: { case: "mlp", value: { hiddenUnits: [32, 16], dropout: 0.1 } } } },
    view,
  });
  console.log(`${model.name}: ${model.size!.parameterCount} parameters`);
  const plan = { epochs: 30, batchSize: 32, learningRate: 0.003, seed: SEED };
  const job = await client.training.createTrainingJob({ trainingJob: { model: model.name, view, plan } });
  const watch = client.watchTrainingJob(job.name);
  for await (const { event } of watch) {
    if (event.case === "epochFinished") {
      const { epoch, trainLoss, validationLoss } = event.value;
      const losses = `train loss ${trainLoss.toFixed(4)}, validation loss ${validationLoss.toFixed(4)}`;
      console.log(`epoch ${String(epoch).padStart(2)}: ${losses}`);
    } else if (event.case === "testFinished") {
      for (const { name, value } of event.value.metrics) {
        console.log(`test ${name}: ${value.toFixed(4)}`);
      }
    } else if (event.case === "warning") {
      console.log(`warning: ${event.value.message}`);
    }
  }
  assertSucceeded(watch.finalJob);
  console.log(`trained ${watch.finalJob.version}`);
  return watch.finalJob.version;
}

/** Asks for the first row of the data set and prints the answer beside the truth. */
async function predict(client: FlareClient, version: string, dataset: string, view: scraper.DatasetView): Promise<void> {
  const columns = view.resolvedColumns.map(({ sourceColumn }) => sourceColumn);
  const preview = await client.scraper.previewDataset({ name: dataset, rowCount: 1, columns });
  const cells = preview.columns.map(({ name }, index) => [name, preview.rows[0]?.cells[index]?.text] as const);
  const truth = cells.find(([name]) => name === TARGET)?.[1];
  const inputs = cells.filter(([name]) => name !== TARGET).map(([name, text]) => [name, Number(text)] as const);
  const answer = await client.predictions.predict({
    name: version,
    inputs: { case: "rows", value: { rows: [Object.fromEntries(inputs)] } },
  });
  for (const { target, prediction } of answer.targets) {
    if (prediction.case === "classification") {
      const { labels, classes, probabilities } = prediction.value;
      console.log(`${target}: ${labels[0]} (in truth ${truth})`);
      classes.forEach((label, index) => console.log(`  ${label}: ${probabilities[index]?.toFixed(4)}`));
    }
  }
}

async function main(): Promise<void> {
  const { env } = process;
  const addresses = {
    auth: env["FLARE_AUTH_ADDRESS"] ?? localAddresses.auth,
    scraper: env["FLARE_SCRAPER_ADDRESS"] ?? localAddresses.scraper,
    ml: env["FLARE_ML_ADDRESS"] ?? localAddresses.ml,
  };
  const client = await connect(addresses, login(env["FLARE_USERNAME"] ?? "admin", env["FLARE_PASSWORD"] ?? ""));
  try {
    const { subject } = await client.auth.getCaller({});
    console.log(`logged in as ${subject}`);
    const id = `breast-cancer-${randomBytes(4).toString("hex")}`;
    const dataset = await importSample(client, id);
    const view = await createView(client, dataset);
    const version = await train(client, id, view.name);
    await predict(client, version, dataset, view);
  } finally {
    client.close();
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof FlareError ? `train: ${error.reason || "lost"}: ${error.message}` : error);
  process.exitCode = 1;
});
