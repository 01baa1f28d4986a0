from nas.testing.predictors import LatencyPredictorContract


class TestGaussianProcess(LatencyPredictorContract):
    predictor = "gaussian_process"
